"""Byte-identical images: the same picture counts once as evidence, however often it was filed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from training.data.radiograph import Radiograph


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Which images of a set are the same, byte for byte."""

    groups: tuple[tuple[int, ...], ...]
    """Row numbers, two or more in each group."""
    contradictory: tuple[tuple[int, ...], ...]
    """Those of the groups whose members have both labels."""

    @property
    def images(self) -> int:
        """How many images have a twin."""
        return sum(map(len, self.groups))


def find_duplicates(radiographs: Sequence[Radiograph]) -> Duplicates:
    """Compare by SHA-256."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, radiograph in enumerate(radiographs):
        rows[radiograph.sha256].append(row)
    groups = tuple(tuple(group) for group in rows.values() if len(group) > 1)
    return Duplicates(
        groups=groups,
        contradictory=tuple(g for g in groups if len({radiographs[row].label for row in g}) > 1),
    )
