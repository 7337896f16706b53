"""From probabilities to a verdict: the one place that says what positive means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db.vocabulary.enums import Verdict


@dataclass(frozen=True, kw_only=True)
class StudyVerdict:
    """What a study came to, before it is stored."""

    verdict: Verdict
    """positive, negative, or rejected when nothing in the study was eligible."""
    probability: float | None
    """Highest calibrated probability among its eligible frames; None when there is none."""


def frame_verdict(probability: float, threshold: float) -> Verdict:
    """A calibrated probability in [0, 1] at the model's operating point; equal is positive."""
    return Verdict.POSITIVE if probability >= threshold else Verdict.NEGATIVE


def study_verdict(probabilities: Iterable[float], threshold: float) -> StudyVerdict:
    """The study's probability is the highest of its frames: one opacity is enough."""
    highest = max(probabilities, default=None)
    if highest is None:
        return StudyVerdict(verdict=Verdict.REJECTED, probability=None)
    return StudyVerdict(verdict=frame_verdict(highest, threshold), probability=highest)
