"""Display Shutter (PS3.3 C.7.6.11): what lies outside its shapes is not part of the picture.

A shutter that cannot be read is refused, since it decides about pixels. Passed over, with a word in the
record, is what names no area at all: a shape without any of its elements, elements without a shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import integer, is_filled, numbers, text
from worker.imaging.pixel_layout import PixelLayout
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.imaging.shutter_shapes import Circle, Polygon, Rectangle, Shape
from worker.imaging.unreadable import element_name

FARTHEST = 1_000_000
"""Of every coordinate and radius: beyond any detector, and small enough for exact whole numbers."""
MOST_VERTICES = 1024
"""Of a polygon: outlines drawn at every third of a degree have as many."""
WHITE = 0xFFFF
"""The greatest P-Value (C.7.6.11: 0000H is black, FFFFH white)."""

_EDGES = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
)
_CIRCLE = ("CenterOfCircularShutter", "RadiusOfCircularShutter")
_POLYGON = ("VerticesOfThePolygonalShutter",)
_ELEMENTS = {"RECTANGULAR": _EDGES, "CIRCULAR": _CIRCLE, "POLYGONAL": _POLYGON}
"""The elements that say where a shape lies, by its term in Shutter Shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shutter:
    """What a dataset says of a shutter, and the pixels that it covers."""

    shapes: tuple[str, ...] = ()
    """RECTANGULAR, CIRCULAR, POLYGONAL as applied, in the dataset's order; a pixel outside one is covered."""
    geometry: tuple[int, ...] = ()
    """The numbers of those shapes, in the order of their elements' tags."""
    presentation_value: int = 0
    """(0018,1622), a P-Value: 0 black, 65535 white; black where it is absent."""
    covered: np.ndarray | None = None
    """bool (H, W): the pixels outside; None if there are none."""
    passed_over: str | None = None
    """Why something that is there was not used."""

    @property
    def shown_as(self) -> np.float32:
        """The normalised value of covered pixels."""
        return np.float32(self.presentation_value / WHITE)

    @property
    def covered_pixels(self) -> int:
        """How many pixels lie outside."""
        return 0 if self.covered is None else int(np.count_nonzero(self.covered))


def shutter_of(dataset: Dataset, layout: PixelLayout) -> Shutter:
    """The shutter of a dataset; without one it covers nothing. Raises RefusedInstance SHUTTER_INVALID."""
    named = _named_shapes(dataset)
    if not named:
        return Shutter(passed_over=_without_shape(dataset))
    applied = {name: _shape(dataset, name) for name in named if _has_elements(dataset, name)}
    missing = [name for name in named if name not in applied]
    passed_over = f"{', '.join(missing)} without any of its elements" if missing else None
    if not applied:
        return Shutter(passed_over=passed_over)
    return Shutter(
        shapes=tuple(applied),
        geometry=tuple(value for shape in applied.values() for value in shape.numbers),
        presentation_value=_presentation_value(dataset),
        covered=_covered(list(applied.values()), layout),
        passed_over=passed_over,
    )


def _named_shapes(dataset: Dataset) -> list[str]:
    """The terms of (0018,1600), each once."""
    said = (text(dataset, "ShutterShape") or "").upper().split("\\")
    named = list(dict.fromkeys(term.strip() for term in said if term.strip()))
    if not named and is_filled(dataset, "ShutterShape"):
        raise _invalid("ShutterShape", "a value that cannot be read", _TERMS)
    for term in named:
        if term == "BITMAP":  # C.7.6.15: of presentation states alone, drawn by an overlay
            raise _invalid("ShutterShape", "a bitmap shutter", _TERMS)
        if term not in _ELEMENTS:
            raise _invalid("ShutterShape", "another term", _TERMS)
    return named


_TERMS = "RECTANGULAR, CIRCULAR or POLYGONAL, each at most once"


def _without_shape(dataset: Dataset) -> str | None:
    stray = any(_has_elements(dataset, name) for name in _ELEMENTS)
    return "elements of a shutter without Shutter Shape" if stray else None


def _has_elements(dataset: Dataset, shape: str) -> bool:
    return any(is_filled(dataset, keyword) for keyword in _ELEMENTS[shape])


def _shape(dataset: Dataset, name: str) -> Shape:
    return _READERS[name](dataset)


def _rectangle(dataset: Dataset) -> Rectangle:
    left, right, upper, lower = (_whole_numbers(dataset, keyword, 1)[0] for keyword in _EDGES)
    return Rectangle(left=left, right=right, upper=upper, lower=lower)


def _circle(dataset: Dataset) -> Circle:
    center, radius = _CIRCLE
    row, column = _whole_numbers(dataset, center, 2)  # C.7.6.11: row first
    (length,) = _whole_numbers(dataset, radius, 1)
    if length < 1:
        raise _invalid(radius, str(length), "a radius of 1 or more")
    return Circle(row=row, column=column, radius=length)


def _polygon(dataset: Dataset) -> Polygon:
    (keyword,) = _POLYGON
    found = _whole_numbers(dataset, keyword, None)
    if len(found) % 2 or not 6 <= len(found) <= 2 * MOST_VERTICES:
        expected = f"rows and columns of 3 to {MOST_VERTICES} vertices"
        raise _invalid(keyword, f"{len(found)} values", expected)
    return Polygon(vertices=tuple(zip(found[::2], found[1::2], strict=True)))


_READERS: dict[str, Callable[[Dataset], Shape]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}


def _whole_numbers(dataset: Dataset, keyword: str, count: int | None) -> list[int]:
    found = numbers(dataset, keyword)
    in_order = (
        found
        and count in {None, len(found)}
        and all(math.isfinite(v) and v == int(v) and abs(v) <= FARTHEST for v in found)
    )
    if not in_order:
        there = is_filled(dataset, keyword)
        raise _invalid(
            keyword,
            "a value that is not this" if there else "no value",
            f"{count or 'pairs of'} whole number(s) within {FARTHEST} of 0",
        )
    return [int(value) for value in found]


def _presentation_value(dataset: Dataset) -> int:
    keyword = "ShutterPresentationValue"
    value = integer(dataset, keyword)
    if value is None and not is_filled(dataset, keyword):
        return 0  # it is of type 3; every viewer that we know takes black
    if value is None or not 0 <= value <= WHITE:
        raise _invalid(keyword, "a value that is not this", f"one whole number from 0 to {WHITE}")
    return value


def _covered(shapes: list[Shape], layout: PixelLayout) -> np.ndarray | None:
    """bool (H, W); None if every pixel is shown."""
    covered = np.zeros((layout.rows, layout.columns), dtype=bool)
    for shape in shapes:
        covered |= _outside(shape.spans(layout.rows), layout)
    if covered.all():
        raise _invalid("ShutterShape", "a shutter that covers every pixel", "a picture inside it")
    return covered if covered.any() else None


def _outside(spans: Iterator[tuple[int, int, int]], layout: PixelLayout) -> np.ndarray:
    outside = np.ones((layout.rows, layout.columns), dtype=bool)
    for row, first, last in spans:
        if last >= 1:  # a negative end would count from the right
            outside[row - 1, max(first, 1) - 1 : last] = False
    return outside


def _invalid(keyword: str, found: str, expected: str) -> RefusedInstance:
    return refused(
        "SHUTTER_INVALID",
        step=Step.NORMALISE,
        tag=element_name(keyword),
        found=found,
        expected=f"{expected} (PS3.3 C.7.6.11)",
        advice="Nobody can say what belongs to the picture; its source must be set right.",
    )
