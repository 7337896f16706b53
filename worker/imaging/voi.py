"""Modality values to [0, 1]: VOI LUT Sequence, window, or a stretch (PS3.3 C.11.2).

A table comes before a window, the first of several before the others. A window that the standard
does not allow is passed over, and the record says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.frame_values import FrameValues
from worker.imaging.header_values import code_string, first_item, is_unreadable, numbers, value_of
from worker.imaging.lookup_tables import lookup_table
from worker.imaging.modality import GREATEST, Curve, Modality, commas_in, read_deciding
from worker.imaging.refusals import Step, refused
from worker.imaging.unreadable import element_unreadable


class VoiKind(StrEnum):
    """Where the values of interest came from."""

    LUT_SEQUENCE = "voi_lut_sequence"
    """(0028,3010) VOI LUT Sequence, first item."""
    WINDOW = "window"
    """(0028,1050) Window Center and (0028,1051) Window Width, first pair."""
    PERCENTILE_STRETCH = "percentile_stretch"
    """Neither was there or usable: the frame's own percentiles, as the recipe says."""


@dataclass(frozen=True, kw_only=True)
class Voi:
    """The step and what is recorded of it."""

    kind: VoiKind
    """Which of the three."""
    curve: Curve
    """float64 modality values -> float64 in [0, 1], any shape."""
    window_center: float | None = None
    """With "window"."""
    window_width: float | None = None
    """With "window"."""
    function: str | None = None
    """LINEAR, LINEAR_EXACT or SIGMOID, with "window"."""
    windows_present: int = 0
    """How many windows the header offers."""
    luts_present: int = 0
    """How many VOI LUTs the header offers."""
    passed_over: str | None = None
    """Why something that is there was not used."""
    stretch: tuple[float, float] | None = None
    """Modality values that became 0 and 1, with "percentile_stretch"."""
    decimal_commas: tuple[str, ...] = ()
    """Keywords of the elements in which a comma was read as a point."""


def voi_of(
    dataset: Dataset, modality: Modality, values: FrameValues, percentiles: tuple[float, float]
) -> Voi:
    """Return the VOI step: table, else window, else a stretch between the frame's own percentiles.

    Args:
        dataset: An instance.
        modality: Its modality step, which comes before.
        values: The values of the frame, for the stretch.
        percentiles: Low and high, in [0, 100], as the recipe says.

    Returns:
        The step, which maps modality values to [0, 1], and what is recorded of it.

    Raises:
        RefusedInstance: WINDOW_OUT_OF_BOUNDS, HEADER_UNREADABLE, ELEMENT_UNREADABLE.
    """
    if is_unreadable(dataset, "VOILUTSequence"):
        raise element_unreadable(
            "VOILUTSequence", expected="a sequence of tables", step=Step.NORMALISE
        )
    luts = len(value_of(dataset, "VOILUTSequence") or ())
    windows = min(len(numbers(dataset, keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    passed_over = None
    if luts:
        curve = _lut_curve(dataset, modality)
        if curve:
            return Voi(
                kind=VoiKind.LUT_SEQUENCE, curve=curve, windows_present=windows, luts_present=luts
            )
        passed_over = "the VOI LUT contradicts its descriptor"
    window = window_of(dataset)
    if isinstance(window, Window):
        return Voi(
            kind=VoiKind.WINDOW,
            curve=window_curve(window.center, window.width, window.function),
            window_center=window.center,
            window_width=window.width,
            function=window.function,
            passed_over=passed_over,
            decimal_commas=window.decimal_commas,
            windows_present=windows,
            luts_present=luts,
        )
    low, high = values.percentiles(modality.curve, percentiles)
    return Voi(
        kind=VoiKind.PERCENTILE_STRETCH,
        curve=_ramp((low + high) / 2, high - low),
        passed_over=window or passed_over,
        stretch=(low, high),
        windows_present=windows,
        luts_present=luts,
    )


@dataclass(frozen=True, kw_only=True)
class Window:
    """The first window of a header, one that PS3.3 C.11.2.1 allows."""

    center: float
    """(0028,1050)."""
    width: float
    """(0028,1051)."""
    function: str
    """(0028,1056): LINEAR, LINEAR_EXACT or SIGMOID."""
    decimal_commas: tuple[str, ...]
    """Keywords of the elements in which a comma was read as a point."""


def window_of(dataset: Dataset) -> Window | str | None:
    """The first window; why the one that is there is passed over; None if there is none.

    Raises RefusedInstance WINDOW_OUT_OF_BOUNDS, ELEMENT_UNREADABLE.
    """
    said = {kw: read_deciding(dataset, kw) for kw in ("WindowCenter", "WindowWidth")}
    centers, widths = (numbers_said.values for numbers_said in said.values())
    if not (centers and widths):
        return "the window lacks its center or width" if centers or widths else None
    _refuse_beyond_bounds(centers[0], widths[0])
    if is_unreadable(dataset, "VOILUTFunction"):
        raise element_unreadable(
            "VOILUTFunction", expected=" or ".join(_FUNCTIONS), step=Step.NORMALISE
        )
    function = code_string(dataset, "VOILUTFunction") or "LINEAR"
    if not is_allowed(centers[0], widths[0], function):
        return "the window is not one that PS3.3 C.11.2.1 allows"
    return Window(
        center=centers[0], width=widths[0], function=function, decimal_commas=commas_in(said)
    )


def _refuse_beyond_bounds(center: float, width: float) -> None:
    """Passing over is for what consoles get wrong; such numbers come of a broken or forged header."""
    # NaN compares false, so it is refused as well.
    if abs(center) <= GREATEST and abs(width) <= GREATEST:
        return
    raise refused(
        "WINDOW_OUT_OF_BOUNDS",
        step=Step.NORMALISE,
        tag="(0028,1050) Window Center, (0028,1051) Window Width",
        found="a window beyond all bounds",
        expected=f"finite numbers within {GREATEST:g} of 0",
        advice="Its source must be set right.",
    )


def window_curve(center: float, width: float, function: str = "LINEAR") -> Curve:
    """Return the window as a function to [0, 1]; the three of PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    return _FUNCTIONS[function](center, width)


def is_allowed(center: float, width: float, function: str) -> bool:
    """LINEAR needs a width of at least 1, the others one above 0 (C.11.2.1.2.1, C.11.2.1.3)."""
    if function not in _FUNCTIONS or not (math.isfinite(center) and math.isfinite(width)):
        return False
    return width >= 1 if function == "LINEAR" else width > 0


def _linear(center: float, width: float) -> Curve:
    # C.11.2.1.2.1: the half and the one make a window of width n cover n whole numbers.
    return _ramp(center - 0.5, width - 1)


def _linear_exact(center: float, width: float) -> Curve:
    return _ramp(center, width)


def _ramp(middle: float, span: float) -> Curve:
    """0 up to middle - span/2, 1 above middle + span/2, straight between; a step if span is 0."""
    if span == 0:
        return lambda x: (x > middle).astype(np.float64)
    return lambda x: np.clip((x - middle) / span + 0.5, 0.0, 1.0)


def _sigmoid(center: float, width: float) -> Curve:
    # Past +-30 the curve is 0 or 1 to float64's precision; clipping keeps exp from overflowing.
    return lambda x: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -700.0, 700.0)))


_FUNCTIONS: dict[str, Callable[[float, float], Curve]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _lut_curve(dataset: Dataset, modality: Modality) -> Curve | None:
    item = first_item(dataset, "VOILUTSequence")
    little = dataset.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2"
    table = item and lookup_table(item, signed_input=modality.signed, little_endian=little)
    if not table:
        return None
    top = float((1 << table.bits) - 1)
    return lambda x: table(x) / top
