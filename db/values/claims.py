"""What a worker claims, and what becomes of claims that run out."""

from __future__ import annotations

from dataclasses import dataclass

from db.vocabulary.enums import InstanceState, Lane, Priority, Source, SweepAction


@dataclass(frozen=True, kw_only=True)
class PriorPrediction:
    """A prediction that this instance already has, so that it is not made again."""

    model_version_id: int
    """Which weights."""
    preprocessing_version: str
    """Which preprocessing."""
    frame_number: int
    """From 1."""
    probability: float
    """Calibrated, in [0, 1]."""
    threshold: float
    """Operating point then."""


@dataclass(frozen=True, kw_only=True)
class ClaimedInstance:
    """An instance to be assessed and predicted."""

    id: int
    """Its row."""
    file_name: str
    """Relative to the intake folder."""
    state: InstanceState
    """pending, or the outcome in an earlier revision."""
    refusal_code: str | None = None
    """Why an earlier revision refused it."""
    prior: tuple[PriorPrediction, ...]
    """Predictions that it has already."""
    file_removed: bool = False
    """The retention rule removed its file: it keeps the predictions that it has."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on one study until its lease ends. `token` fences every write."""

    study_id: int
    """Its row."""
    study_key: str
    """Its opaque key."""
    token: int
    """Number of this attempt; a write with an older one is refused."""
    revision: int
    """Which revision of the study this attempt saw."""
    retries: int
    """Transient failures so far, from which the next delay is computed."""
    priority: Priority
    """As requested."""
    lane: Lane
    """The lane that it came through."""
    source: Source = Source.PYTHON
    """The way in: an ordered study may have to be fetched first."""
    worker_name: str
    """Who holds it: the actor in the audit trail."""
    instances: tuple[ClaimedInstance, ...]
    """All instances of the study that count, in order of arrival."""


@dataclass(frozen=True, kw_only=True)
class SweptClaim:
    """A claim on a study or a delivery whose lease had run out."""

    key: str
    """The row's opaque key."""
    action: SweepAction
    """What was done with the row."""
