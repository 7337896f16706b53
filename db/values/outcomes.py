"""What a worker found in a study, ready to be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from db.values.study_details import FrameScore, RefusalRecord
from db.vocabulary.enums import Verdict


@dataclass(frozen=True, kw_only=True)
class NewPrediction(FrameScore):
    """One frame's score with everything that is needed to trace it."""

    model_version_id: int
    """Row of the weights that gave it."""
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    """What was done to the pixels, JSON-able."""
    warnings: tuple[str | Mapping[str, Any], ...] = ()
    """What a reader should know, e.g. an age outside the intended population; JSON-able."""


@dataclass(frozen=True, kw_only=True)
class NewShadowPrediction(FrameScore):
    """The shadow's score of one frame at its own operating point; it decides nothing.

    Verdict rejected: the shadow would not have assessed the frame.
    """

    instance_id: int
    """Row of the frame's instance."""
    model_version_id: int
    """Row of the shadow."""


@dataclass(frozen=True, kw_only=True)
class InstanceOutcome:
    """The outcome of one instance: a refusal, or predictions (none if all were stored before)."""

    instance_id: int
    """Its row."""
    refusal: RefusalRecord | None = None
    """Set if it was refused."""
    predictions: tuple[NewPrediction, ...] = ()
    """New ones; one that exists already is left as it is."""


@dataclass(frozen=True, kw_only=True)
class StepSeconds:
    """Time spent in each step of an attempt; None if the step did not happen."""

    read: float | None = None
    """Headers and files."""
    normalise: float | None = None
    """Decoding, LUTs, preprocessing."""
    inference: float | None = None
    """Waiting for and computing the batch."""


@dataclass(frozen=True, kw_only=True)
class StudyOutcome:
    """The outcome of a study."""

    verdict: Verdict
    """positive, negative or rejected."""
    probability: float | None
    """Highest of its eligible frames; None if rejected."""
    threshold: float | None
    """Operating point; None if rejected."""
    model_version_id: int | None
    """Model version that looked at the study; None if none did."""
    decided_by: int | None = None
    """Earlier model version that gave the verdict, for a file that was removed since; else None."""
    device: str | None = None
    """What computed it."""
    instances: tuple[InstanceOutcome, ...] = ()
    """One for each claimed instance."""
    seconds: StepSeconds = StepSeconds()
    """Time in each step."""
