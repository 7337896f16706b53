"""Stored values to modality values: Modality LUT or rescale (PS3.3 C.11.1), before any VOI."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import first_item, is_filled, numbers, value_of
from worker.imaging.lookup_tables import lookup_table
from worker.imaging.refusals import Step, refused

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Modality:
    """The step and what is recorded of it."""

    kind: str
    """"identity", "rescale" or "lut_sequence"."""
    curve: Curve
    """float64 stored values -> float64 modality values, any shape."""
    slope: float | None = None
    """(0028,1053), with "rescale"."""
    intercept: float | None = None
    """(0028,1052), with "rescale"."""
    signed: bool = False
    """Whether modality values can be negative."""


def modality_of(dataset: Dataset, *, signed: bool) -> Modality:
    """The modality step of a dataset whose stored values are `signed` or not.

    Raises RefusedInstance MODALITY_LUT_INVALID: without it no later step means anything.
    """
    if value_of(dataset, "ModalityLUTSequence"):
        return _by_lut(dataset, signed=signed)
    slope, intercept = (
        _number(dataset, "RescaleSlope", 1.0),
        _number(dataset, "RescaleIntercept", 0.0),
    )
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0.0:
        raise _invalid("(0028,1053) Rescale Slope", "a rescale that maps all values to one or none")
    if (slope, intercept) == (1.0, 0.0):
        return Modality(kind="identity", curve=lambda stored: stored, signed=signed)
    return Modality(
        kind="rescale",
        curve=lambda stored: stored * slope + intercept,
        slope=slope,
        intercept=intercept,
        signed=signed or intercept < 0 or slope < 0,
    )


def _by_lut(dataset: Dataset, *, signed: bool) -> Modality:
    item = first_item(dataset, "ModalityLUTSequence")
    little = dataset.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2"
    table = item and lookup_table(item, signed_input=signed, little_endian=little)
    if not table:
        raise _invalid(
            "(0028,3000) Modality LUT Sequence", "a table that contradicts its descriptor"
        )
    return Modality(kind="lut_sequence", curve=table)


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    """The value, `default` if absent, NaN if it is there but no number."""
    found = numbers(dataset, keyword)
    if found:
        return found[0]
    return math.nan if is_filled(dataset, keyword) else default


def _invalid(tag: str, found: str) -> Exception:
    return refused(
        "MODALITY_LUT_INVALID",
        step=Step.NORMALISE,
        tag=tag,
        found=found,
        expected="a usable modality LUT or rescale (PS3.3 C.11.1)",
        advice="Its source must be set right.",
    )
