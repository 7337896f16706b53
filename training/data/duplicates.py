"""Find byte-identical images, which count as one patient however often they were filed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from training.data.radiograph import Radiograph

Groups = tuple[tuple[int, ...], ...]
"""Row numbers, two or more in each group."""


def duplicate_groups(radiographs: Sequence[Radiograph]) -> Groups:
    """The images that are the same, byte for byte."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, radiograph in enumerate(radiographs):
        rows[radiograph.sha256].append(row)
    return tuple(tuple(group) for group in rows.values() if len(group) > 1)


def contradictory_groups(radiographs: Sequence[Radiograph]) -> Groups:
    """Those of the groups whose members have both labels."""
    groups = duplicate_groups(radiographs)
    return tuple(g for g in groups if len({radiographs[row].label for row in g}) > 1)
