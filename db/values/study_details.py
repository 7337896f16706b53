"""What `pneumo status` and `pneumo show` print: frozen values without UIDs or identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.vocabulary.enums import (
    FailureKind,
    InstanceState,
    Lane,
    Priority,
    Source,
    StudyState,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class RefusalRecord:
    """Why an instance cannot be used, with the fields of `worker.imaging.refusals.Refusal`."""

    code: str
    """Stable, UPPER_SNAKE: what analysts count."""
    tag: str | None
    """e.g. "(0018,0015) Body Part Examined"."""
    found: str
    """Value found, without personal data."""
    expected: str
    """What was expected."""
    sentence: str
    """For a person, without personal data."""
    step: str
    """header, eligibility, decode, normalise or assess."""


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """What a model said of one frame."""

    frame_number: int = 1
    """From 1."""
    preprocessing_version: str
    """Version of the recipe from stored values to the network's input."""
    logit: float
    """As the network gave it, uncalibrated; finite."""
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


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The whole installation at a glance."""

    by_state: dict[StudyState, int]
    """Studies in each state."""
    waiting_by_lane: dict[Lane, int]
    """Studies accepted or queued, by lane."""
    by_verdict: dict[Verdict, int]
    """Studies by verdict."""
    oldest_waiting_seconds: float | None
    """How long the oldest waiting study has been complete; None if none waits."""


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """One study in a line."""

    study_key: str
    """Its opaque key."""
    state: StudyState
    """Where it is on its way."""
    priority: Priority
    """As requested."""
    lane: Lane
    """The queue that it goes through now."""
    revision: int
    """From 1."""
    verdict: Verdict | None
    """None until it has one."""
    probability: float | None
    """Calibrated, in [0, 1]."""
    threshold: float | None
    """Operating point."""
    model_name: str | None
    """Model version that gave the verdict."""
    source: Source
    """The way in."""
    attempts: int
    """Claims so far."""
    crashes: int
    """Workers that died while they held it in an ordinary lane."""
    crashes_alone: int
    """Workers that died while they held it alone in the suspect lane."""
    retries: int
    """Transient failures so far."""
    received_at: datetime
    """UTC."""
    due_at: datetime | None
    """UTC; when it will be published or closed."""
    finished_at: datetime | None
    """UTC."""
    waiting_seconds: float | None
    """Complete until first claimed."""
    turnaround_seconds: float | None
    """Received until finished."""
    error_code: str | None
    """Of the last failure."""
    error_sentence: str | None
    """Of the last failure."""
    error_kind: FailureKind | None
    """Of the last failure."""
    traceback_reference: str | None
    """Under which reference the log holds the traceback."""


@dataclass(frozen=True, kw_only=True)
class PredictionDetail(FrameScore):
    """One prediction as `pneumo show` prints it."""

    prediction_id: int
    """Its row: what `pneumo verify p17` names."""
    model_name: str
    """Model version."""
    normalisation: Mapping[str, Any]
    """What was done to the pixels."""
    warnings: tuple[Any, ...]
    """What a reader should know."""
    recorded_at: datetime
    """UTC."""


@dataclass(frozen=True, kw_only=True)
class RecordedPrediction(PredictionDetail):
    """One prediction with what is needed to compute it again."""

    study_key: str
    """The study's opaque key."""
    instance_number: int
    """Of its instance in the study, from 1, in order of arrival."""
    file_name: str
    """Opaque, relative to the intake folder."""
    file_sha256: str
    """64 hex digits, of the file that was predicted."""
    file_removed: bool
    """Whether the retention rule has removed the file."""


@dataclass(frozen=True, kw_only=True)
class InstanceDetail:
    """One instance as `pneumo show` prints it: no UID of its own."""

    number: int
    """From 1, in order of arrival."""
    revision: int
    """Revision of the study that it came with."""
    state: InstanceState
    """Whether it was predicted or refused."""
    file_name: str
    """Opaque, relative to the intake folder."""
    file_sha256: str
    """64 hex digits."""
    file_bytes: int
    """Size."""
    file_removed_at: datetime | None
    """Since when the retention rule has removed its file."""
    transfer_syntax_name: str | None
    """For people."""
    modality: str | None
    """Defined term."""
    view_position: str | None
    """Defined term."""
    refusal: RefusalRecord | None
    """If it was refused."""
    predictions: tuple[PredictionDetail, ...]
    """In order of recording."""
    replaced_in_revision: int | None
    """Another content of the same instance came with that revision; None: this one counts."""


@dataclass(frozen=True, kw_only=True)
class AttemptDetail:
    """One attempt."""

    attempt: int
    """From 1."""
    worker_name: str
    """Who made it."""
    lane: Lane
    """The lane that it came through."""
    outcome: str
    """A `RunOutcome`."""
    device: str | None
    """What computed it."""
    error_code: str | None
    """If it failed."""
    started_at: datetime
    """UTC."""
    ended_at: datetime | None
    """UTC."""
    read_seconds: float | None
    """Headers and files."""
    normalise_seconds: float | None
    """Decoding, LUTs, preprocessing."""
    inference_seconds: float | None
    """Waiting for and computing the batch."""
    store_seconds: float | None
    """Writing rows; without the audit records and the commit."""
    total_seconds: float | None
    """Claim to end."""


@dataclass(frozen=True, kw_only=True)
class AuditDetail:
    """One audit record of a study."""

    event: str
    """An `AuditEvent`."""
    occurred_at: datetime
    """UTC."""
    actor: str
    """Who did it."""
    detail: Mapping[str, Any]
    """Codes, counts, digests; nothing personal."""


@dataclass(frozen=True, kw_only=True)
class StudyDetail:
    """Everything about one study but its identity."""

    summary: StudySummary
    """The line."""
    instances: tuple[InstanceDetail, ...]
    """In order of arrival."""
    attempts: tuple[AttemptDetail, ...]
    """In order."""
    audit: tuple[AuditDetail, ...]
    """In order."""
