"""Stored values to modality values: Modality LUT or rescale (PS3.3 C.11.1), before any VOI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import (
    ElementState,
    Numbers,
    first_item,
    is_unreadable,
    read_numbers,
    value_of,
)
from worker.imaging.lookup_tables import lookup_table
from worker.imaging.refusals import Step, refused
from worker.imaging.unreadable import element_unreadable

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
    decimal_commas: tuple[str, ...] = ()
    """Keywords of the elements in which a comma was read as a point."""


_RESCALE = "(0028,1053) Rescale Slope, (0028,1052) Rescale Intercept"


def modality_of(dataset: Dataset, *, signed: bool) -> Modality:
    """Return the modality step of a dataset: its table, else its rescale, else identity.

    Args:
        dataset: An instance.
        signed: Whether its stored values are signed.

    Returns:
        The step, which maps stored values to modality values.

    Raises:
        RefusedInstance: MODALITY_LUT_INVALID, ELEMENT_UNREADABLE, since without it no later step
            means anything.
    """
    if is_unreadable(dataset, "ModalityLUTSequence"):
        raise element_unreadable(
            "ModalityLUTSequence", expected="a sequence of one table", step=Step.NORMALISE
        )
    if value_of(dataset, "ModalityLUTSequence"):
        return _by_lut(dataset, signed=signed)
    said = {
        keyword: read_deciding(dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")
    }
    slope = next(iter(said["RescaleSlope"].values), 1.0)
    intercept = next(iter(said["RescaleIntercept"].values), 0.0)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0.0:
        raise _invalid(_RESCALE, "a rescale that maps all values to one or none")
    greatest = abs(slope) * 0xFFFF + abs(intercept)
    if greatest > GREATEST or abs(slope) < LEAST_STEP:
        raise _invalid(_RESCALE, "a rescale beyond all bounds")
    if (slope, intercept) == (1.0, 0.0):
        return Modality(
            kind="identity",
            curve=lambda stored: stored,
            signed=signed,
            decimal_commas=commas_in(said),
        )
    return Modality(
        kind="rescale",
        curve=lambda stored: stored * slope + intercept,
        slope=slope,
        intercept=intercept,
        signed=signed or intercept < 0 or slope < 0,
        decimal_commas=commas_in(said),
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


def read_deciding(dataset: Dataset, keyword: str) -> Numbers:
    """The numbers of an element that decides about pixels.

    Raises RefusedInstance ELEMENT_UNREADABLE if it has a value that is no number.
    """
    read = read_numbers(dataset, keyword)
    if read.state is ElementState.UNREADABLE:
        raise element_unreadable(keyword, expected="a number, or no value", step=Step.NORMALISE)
    return read


def commas_in(said: Mapping[str, Numbers]) -> tuple[str, ...]:
    """The keywords of those elements in which a comma was read as a point."""
    return tuple(keyword for keyword, read in said.items() if read.has_decimal_comma)


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
