"""From probabilities to a verdict: the only place that defines "positive"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db.vocabulary.enums import Verdict


@dataclass(frozen=True, kw_only=True)
class StudyVerdict:
    """The verdict on a study, before it is stored."""

    verdict: Verdict
    """positive, negative, or rejected when nothing in the study was eligible."""
    probability: float | None
    """Highest calibrated probability among its eligible frames; None when there is none."""


def frame_verdict(probability: float, threshold: float) -> Verdict:
    """Return the verdict for a calibrated probability in [0, 1]; at the threshold it is positive."""
    return Verdict.POSITIVE if probability >= threshold else Verdict.NEGATIVE


def study_verdict(probabilities: Iterable[float], threshold: float) -> StudyVerdict:
    """Return the verdict for the highest probability of a study's frames: one opacity is enough."""
    highest = max(probabilities, default=None)
    if highest is None:
        return StudyVerdict(verdict=Verdict.REJECTED, probability=None)
    return StudyVerdict(verdict=frame_verdict(highest, threshold), probability=highest)
