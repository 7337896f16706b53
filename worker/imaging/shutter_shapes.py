"""The shapes of a display shutter as spans of pixels, in whole numbers and therefore exact.

Rows and columns are counted from 1. A pixel whose centre lies on the outline is inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Span = tuple[int, int, int]
"""A row, its first and its last column inside; the columns may lie outside the picture."""


class Shape(Protocol):
    """What every shape can tell."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of its elements, in the order of their tags."""

    def spans(self, rows: int) -> Iterator[Span]:
        """What is inside, in rows 1 to `rows`."""


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """From the left to the right and from the upper to the lower edge."""

    left: int
    """A column."""
    right: int
    """A column."""
    upper: int
    """A row."""
    lower: int
    """A row."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Left, right, upper, lower."""
        return self.left, self.right, self.upper, self.lower

    def spans(self, rows: int) -> Iterator[Span]:
        """One span for each row between the edges."""
        for row in range(max(self.upper, 1), min(self.lower, rows) + 1):
            yield row, self.left, self.right


@dataclass(frozen=True, kw_only=True)
class Circle:
    """Everything within the radius of the center."""

    row: int
    """Of the center."""
    column: int
    """Of the center."""
    radius: int
    """In pixels along a row; pixels are square, or the image is not eligible."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Row and column of the center, radius."""
        return self.row, self.column, self.radius

    def spans(self, rows: int) -> Iterator[Span]:
        """One span for each row that the circle meets."""
        first, last = max(self.row - self.radius, 1), min(self.row + self.radius, rows)
        for row in range(first, last + 1):
            half = math.isqrt(self.radius**2 - (row - self.row) ** 2)
            yield row, self.column - half, self.column + half


@dataclass(frozen=True, kw_only=True)
class Polygon:
    """The inside of a closed outline, by the even-odd rule."""

    vertices: tuple[tuple[int, int], ...]
    """Row and column of each; the last is joined to the first."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Row and column of each vertex in turn."""
        return tuple(value for vertex in self.vertices for value in vertex)

    def spans(self, rows: int) -> Iterator[Span]:
        """The spans of every row, and the vertices and level edges, which a scan line only touches."""
        starts = np.array(self.vertices, dtype=np.int64)  # (N, 2): row, column
        ends = np.roll(starts, -1, axis=0)
        first, last = max(int(starts[:, 0].min()), 1), min(int(starts[:, 0].max()), rows)
        for row in range(first, last + 1):
            yield from _between_crossings(row, starts, ends)
        for (row, column), (next_row, next_column) in zip(
            starts.tolist(), ends.tolist(), strict=True
        ):
            if first <= row <= last:
                other = next_column if next_row == row else column
                yield row, min(column, other), max(column, other)


def _between_crossings(row: int, starts: np.ndarray, ends: np.ndarray) -> Iterator[Span]:
    """From each odd crossing of a row with the outline to the next; an edge owns its lower end alone."""
    crossing = (starts[:, 0] < row) != (ends[:, 0] < row)
    (rows, columns), (rise, run) = starts[crossing].T, (ends - starts)[crossing].T
    product = (row - rows) * run
    order = np.argsort(columns + product / rise, kind="stable")
    rounded_up = (columns - (-product) // rise)[order]
    rounded_down = (columns + product // rise)[order]
    yield from (
        (row, int(first), int(last))
        for first, last in zip(rounded_up[::2], rounded_down[1::2], strict=True)
        if first <= last
    )
