"""What a site or a model may choose about eligibility."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MultiFrame(StrEnum):
    """What to do with an instance of several frames."""

    REFUSE = "refuse"
    """A radiograph has one frame; several are a run, a fusion or a mistake."""
    FIRST = "first"
    """Predict the first and warn."""
    EVERY = "every"
    """Predict each of them."""


@dataclass(frozen=True, kw_only=True)
class EligibilityPolicy:
    """What a site or a model may choose; all else is fixed by the rules."""

    population_age_years: tuple[float, float] | None = None
    """Least and greatest age the model is meant for, inclusive; None: no warning about age."""
    multi_frame: MultiFrame = MultiFrame.REFUSE
    """What to do with several frames."""
    min_side: int = 128
    """Fewest rows and columns: below, it is a thumbnail."""
    max_side: int = 12_000
    """Most rows and columns: above, no detector exists and memory is at stake."""
