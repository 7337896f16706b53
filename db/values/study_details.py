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
    """Why an instance cannot be used; the same fields as `worker.imaging.refusals.Refusal`."""

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
    """Where it stands."""
    priority: Priority
    """As asked."""
    lane: Lane
    """Where it goes now."""
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
    """Workers that died with it in an ordinary lane."""
    crashes_alone: int
    """Workers that died with it alone."""
    retries: int
    """Passing failures so far."""
    received_at: datetime
    """UTC."""
    due_at: datetime | None
    """UTC; when it is to be published or closed."""
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
    """Where the traceback lies."""


@dataclass(frozen=True, kw_only=True)
class PredictionDetail:
    """One prediction as `pneumo show` prints it."""

    frame_number: int
    """From 1."""
    model_name: str
    """Model version."""
    preprocessing_version: str
    """Preprocessing."""
    logit: float
    """Uncalibrated."""
    probability: float
    """Calibrated, in [0, 1]."""
    threshold: float
    """Operating point."""
    verdict: Verdict
    """positive or negative."""
    distance: float | None
    """From the model's training set; None if it does not measure it."""
    device: str
    """What computed it."""
    normalisation: Mapping[str, Any]
    """What was done to the pixels."""
    warnings: tuple[Any, ...]
    """What a reader should know."""
    recorded_at: datetime
    """UTC."""


@dataclass(frozen=True, kw_only=True)
class InstanceDetail:
    """One instance as `pneumo show` prints it: no UID of its own."""

    number: int
    """From 1, in order of arrival."""
    revision: int
    """Revision of the study that it came with."""
    state: InstanceState
    """Where it stands."""
    file_name: str
    """Opaque, relative to the intake folder."""
    file_sha256: str
    """64 hex digits."""
    file_bytes: int
    """Size."""
    file_removed_at: datetime | None
    """Since when the file is gone by the retention rule."""
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
    """Who."""
    lane: Lane
    """Where it came through."""
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
