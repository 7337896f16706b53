"""How often each stored value occurs: constant frames, padding and percentiles are read from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 18
"""Values counted at once: np.bincount widens its input to 64 bit, which must stay small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ValueCounts:
    """The stored values that occur in a frame outside its padding, ascending, with their counts."""

    values: np.ndarray
    """float64 (n,), distinct stored values."""
    counts: np.ndarray
    """int64 (n,), each above 0."""

    def percentiles(
        self, curve: Callable[[np.ndarray], np.ndarray], percents: tuple[float, float]
    ) -> tuple[float, float]:
        """Values of `curve` with at least percents[0] % at or below and 100 - percents[1] % at or
        above; the least and the greatest if these two are one. Mirrors with the picture.
        """
        outputs = curve(self.values)
        order = np.argsort(outputs, kind="stable")
        outputs, counts = outputs[order], self.counts[order]
        total = counts.sum()
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])
        low = outputs[np.searchsorted(below, total * percents[0] / 100)]
        high = outputs[::-1][np.searchsorted(above, total * (100 - percents[1]) / 100)]
        return (float(low), float(high)) if low < high else (float(outputs[0]), float(outputs[-1]))


def count_values(index: np.ndarray, domain: np.ndarray, padding: np.ndarray) -> ValueCounts:
    """Count a frame's values.

    `index`: unsigned (H, W), positions in `domain`; `domain`: float64 (D,), the stored value of
    each position; `padding`: bool (D,), the positions not to count.
    """
    counts = np.zeros(len(domain), dtype=np.int64)
    flat = index.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=len(domain))
    found = np.flatnonzero((counts > 0) & ~padding)
    found = found[np.argsort(domain[found], kind="stable")]
    return ValueCounts(values=domain[found], counts=counts[found])
