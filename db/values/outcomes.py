"""What a worker found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from db.values.study_details import (
    RefusalRecord,
)
from db.vocabulary.enums import (
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class NewPrediction:
    """One frame's score with everything that is needed to trace it."""

    frame_number: int = 1
    """From 1."""
    model_version_id: int
    """Which weights."""
    preprocessing_version: str
    """Which preprocessing."""
    logit: float
    """As the network gave it; finite."""
    probability: float
    """Calibrated, in [0, 1]."""
    threshold: float
    """Operating point on the calibrated probability."""
    verdict: Verdict
    """positive or negative."""
    distance: float | None = None
    """From the model's training set; None if the model does not measure it."""
    device: str
    """What computed it, e.g. "cpu"."""
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    """What was done to the pixels, JSON-able."""
    warnings: tuple[str | Mapping[str, Any], ...] = ()
    """What a reader should know, e.g. an age outside the intended population; JSON-able."""


@dataclass(frozen=True, kw_only=True)
class NewShadowPrediction:
    """What the shadow said of one frame; it decides nothing."""

    instance_id: int
    """Row of the frame's instance."""
    frame_number: int
    """From 1."""
    model_version_id: int
    """The shadow."""
    preprocessing_version: str
    """Which preprocessing."""
    logit: float
    """As the network gave it; finite."""
    probability: float
    """Calibrated, in [0, 1]."""
    threshold: float
    """The shadow's own operating point."""
    verdict: Verdict
    """positive or negative; rejected: the shadow would not have assessed the frame."""
    distance: float | None
    """From the shadow's training set; None if it does not measure it."""
    device: str
    """What computed it."""


@dataclass(frozen=True, kw_only=True)
class InstanceOutcome:
    """What one instance came to: a refusal, or predictions (none if all of them were there)."""

    instance_id: int
    """Its row."""
    refusal: RefusalRecord | None = None
    """Set if it was refused."""
    predictions: tuple[NewPrediction, ...] = ()
    """New ones; one that exists already is left as it is."""


@dataclass(frozen=True, kw_only=True)
class StepSeconds:
    """Time spent in each step of an attempt; None where a step did not happen."""

    read: float | None = None
    """Headers and files."""
    normalise: float | None = None
    """Decoding, LUTs, preprocessing."""
    inference: float | None = None
    """Waiting for and computing the batch."""


@dataclass(frozen=True, kw_only=True)
class StudyOutcome:
    """What a study came to."""

    verdict: Verdict
    """positive, negative or rejected."""
    probability: float | None
    """Highest of its eligible frames; None if rejected."""
    threshold: float | None
    """Operating point; None if rejected."""
    model_version_id: int | None
    """Model version that was asked; None if no model was."""
    decided_by: int | None = None
    """Model version that gave the verdict, if an earlier one did, of a file that left since."""
    device: str | None = None
    """What computed it."""
    instances: tuple[InstanceOutcome, ...] = ()
    """One for each claimed instance."""
    seconds: StepSeconds = StepSeconds()
    """Time in each step."""
