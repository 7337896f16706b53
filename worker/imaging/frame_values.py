"""Which stored values a frame holds outside padding and shutter, and how often: read by later steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_CHUNK = 1 << 18
"""Values counted at once: np.bincount widens its input to 64 bit, which must stay small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameValues:
    """A frame's stored values beside the table of all values it could hold."""

    stored: np.ndarray
    """Stored values (H, W), 8 or 16 bit."""
    domain: np.ndarray
    """float64 (256,) or (65536,): the stored value that each container, read unsigned, means."""
    padding: np.ndarray
    """bool, shape of `domain`: which values are padding."""
    covered: np.ndarray | None = None
    """bool (H, W): pixels behind a shutter, which count for nothing; None if there are none."""

    @property
    def index(self) -> np.ndarray:
        """The containers read unsigned (H, W): positions in `domain`; a view, no copy."""
        return self.stored.view(f"u{self.stored.dtype.itemsize}")

    @cached_property
    def extremes(self) -> tuple[int, int] | None:
        """Least and greatest stored value of the picture; None if all is padding or covered."""
        if self.covered is None and not self.padding.any():  # spares the counting, most of the time
            return int(self.stored.min()), int(self.stored.max())
        values, _ = self.counts
        return (int(values[0]), int(values[-1])) if len(values) else None

    @property
    def possible(self) -> np.ndarray:
        """float64 (n,): every value of `domain` between the extremes that is no padding."""
        if self.extremes is None:
            return self.domain[:0]
        low, high = self.extremes
        return self.domain[(self.domain >= low) & (self.domain <= high) & ~self.padding]

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """The values of the picture, float64 (n,) ascending, and how often each occurs."""
        counts = np.zeros(len(self.domain), dtype=np.int64)
        flat = self.index.reshape(-1)
        covered = None if self.covered is None else self.covered.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            seen = flat[chunk] if covered is None else flat[chunk][~covered[chunk]]
            counts += np.bincount(seen, minlength=len(counts))
        found = np.flatnonzero((counts > 0) & ~self.padding)
        found = found[np.argsort(self.domain[found], kind="stable")]
        return self.domain[found], counts[found]

    def percentiles(
        self, curve: Callable[[np.ndarray], np.ndarray], percents: tuple[float, float]
    ) -> tuple[float, float]:
        """Two outputs of `curve`: one with at least percents[0] % of the pixels at or below it,
        one with at least 100 - percents[1] % at or above. Turning the picture over swaps them.
        The least and the greatest if the two are one.
        """
        values, counts = self.counts
        outputs = curve(values)
        order = np.argsort(outputs, kind="stable")
        outputs, counts = outputs[order], counts[order]
        total = counts.sum()
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])
        low = outputs[np.searchsorted(below, total * percents[0] / 100)]
        high = outputs[::-1][np.searchsorted(above, total * (100 - percents[1]) / 100)]
        return (float(low), float(high)) if low < high else (float(outputs[0]), float(outputs[-1]))
