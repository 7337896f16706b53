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

GREATEST, LEAST_STEP = 1e12, 1e-12
"""Bounds of modality values and windows, and of the step between two neighbours. No physical quantity of
a radiograph comes near, and double precision carries all arithmetic in between."""


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


_RESCALE = "(0028,1053) Rescale Slope, (0028,1052) Rescale Intercept"


def modality_of(dataset: Dataset, *, signed: bool) -> Modality:
    """Return the modality step of a dataset: its table, else its rescale, else identity.

    Args:
        dataset: An instance.
        signed: Whether its stored values are signed.

    Returns:
        The step, which maps stored values to modality values.

    Raises:
        RefusedInstance: MODALITY_LUT_INVALID, since without it no later step means anything.
    """
    if value_of(dataset, "ModalityLUTSequence"):
        return _by_lut(dataset, signed=signed)
    slope, intercept = (
        _number(dataset, "RescaleSlope", 1.0),
        _number(dataset, "RescaleIntercept", 0.0),
    )
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0.0:
        raise _invalid(_RESCALE, "a rescale that maps all values to one or none")
    greatest = abs(slope) * 0xFFFF + abs(intercept)
    if greatest > GREATEST or abs(slope) < LEAST_STEP:
        raise _invalid(_RESCALE, "a rescale beyond all bounds")
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
        expected="a usable modality LUT or rescale (PS3.3 C.11.1), with values that differ by "
        f"{LEAST_STEP:g} or more and lie within {GREATEST:g} of 0",
        advice="Its source must be set right.",
    )
