"""Whether a measured quantity grows: a robust slope over the steady part of a run, held against a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

WARM_UP = 1 / 3
"""Share of a run that is not judged: caches fill and allocators settle."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much a quantity may grow over the judged part of a run before it counts as growth."""

    absolute: float
    """In its own unit."""
    relative: float
    """As a share of its median; the larger of both holds."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found of one quantity."""

    name: str
    begins: float
    """Median of the first fifth of the judged part."""
    ends: float
    """Median of its last fifth."""
    grown: float
    """Slope times duration: what the whole judged part adds, whatever single samples do."""
    allowed: float

    @property
    def grows(self) -> bool:
        """Whether it grew by more than is allowed."""
        return self.grown > self.allowed


def judge(
    name: str, seconds: Sequence[float], values: Sequence[float], tolerance: Tolerance
) -> Judgement:
    """Judge one quantity that was sampled at these seconds.

    The slope is the median of the slopes between all pairs of samples (Theil and Sen): up to 29 % of the
    samples may be anything, such as peaks while a study is decoded. Raises ValueError for fewer than 10.
    """
    cut = seconds[0] + (seconds[-1] - seconds[0]) * WARM_UP
    kept = [(s, v) for s, v in zip(seconds, values, strict=True) if s >= cut]
    if len(kept) < 10:
        raise ValueError(f"{name}: {len(kept)} samples after the warm-up; expected at least 10")
    thinned = kept[:: max(1, len(kept) // 200)]
    slope = median((b - a) / (t - s) for (s, a), (t, b) in combinations(thinned, 2))
    judged = [value for _, value in kept]
    fifth = max(1, len(judged) // 5)
    return Judgement(
        name=name,
        begins=median(judged[:fifth]),
        ends=median(judged[-fifth:]),
        grown=slope * (kept[-1][0] - kept[0][0]),
        allowed=max(tolerance.absolute, tolerance.relative * median(judged)),
    )
