"""Values that cross the boundary of this package: frozen, small, without a session behind them.

Their `repr` shows no UID, patient id or accession number, so that they may be logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.details import (
    AttemptDetail,
    AuditDetail,
    InstanceDetail,
    Overview,
    PredictionDetail,
    RefusalRecord,
    StudyDetail,
    StudySummary,
)
from db.enums import (
    InstanceReceipt,
    InstanceState,
    Lane,
    Priority,
    RetrieveWay,
    Source,
    StudyState,
    SweepAction,
    Verdict,
)

__all__ = [
    "Acceptance",
    "AttemptDetail",
    "AuditDetail",
    "AuditReport",
    "Claim",
    "ClaimedInstance",
    "InstanceAcceptance",
    "InstanceDetail",
    "InstanceOutcome",
    "LiveWorker",
    "ModelRecord",
    "NewModelVersion",
    "NewPrediction",
    "NewShadowPrediction",
    "OpenStudy",
    "Ordered",
    "Origin",
    "Overview",
    "PredictionDetail",
    "PriorPrediction",
    "ReceivedInstance",
    "ReceivedStudy",
    "RefusalRecord",
    "ShadowStatus",
    "Standing",
    "StepSeconds",
    "StudyDetail",
    "StudyOrder",
    "StudyOutcome",
    "StudySummary",
    "SweptStudy",
]

# --- intake ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ReceivedInstance:
    """One DICOM file as it came, already lying under the intake folder."""

    sop_instance_uid: str = field(repr=False)
    """(0008,0018); unique within its study."""
    series_instance_uid: str = field(repr=False)
    """(0020,000E)."""
    sop_class_uid: str
    """(0008,0016), a registered UID."""
    transfer_syntax_uid: str
    """(0002,0010), a registered UID."""
    transfer_syntax_name: str | None = None
    """Its name for people, e.g. "JPEG 2000 Lossless"; this is what the views show."""
    file_sha256: str
    """64 hex digits over the file's bytes."""
    content_sha256: str | None = None
    """64 hex digits that do not depend on the file meta, which each program writes in its own way."""
    file_name: str
    """Opaque name relative to the intake folder."""
    file_bytes: int
    """Size of the file."""
    modality: str | None = None
    """A defined term, e.g. "DX". Views show it: pass None for anything that is no defined term."""
    body_part: str | None = None
    """A defined term, e.g. "CHEST"; None otherwise."""
    view_position: str | None = None
    """A defined term, e.g. "PA"; None otherwise."""
    manufacturer: str | None = None
    """At most 64 printable characters."""
    rows: int | None = None
    """(0028,0010)."""
    columns: int | None = None
    """(0028,0011)."""


@dataclass(frozen=True, kw_only=True)
class ReceivedStudy:
    """A study, or the part of it that came in one go. At least one instance."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    instances: tuple[ReceivedInstance, ...]
    """What came; nothing may be missing from disk when this is handed over."""
    priority: Priority = Priority.ROUTINE
    """As asked."""
    source: Source = Source.PYTHON
    """The way in."""
    site_ae_title: str | None = None
    """Calling AE title, or another name of the sending site."""
    patient_id: str | None = field(default=None, repr=False)
    """Personal: goes into study_identity alone."""
    accession_number: str | None = field(default=None, repr=False)
    """Personal: goes into study_identity alone."""
    patient_sex: str | None = None
    """"M", "F", "O" or None."""
    patient_age_years: float | None = None
    """Age at the study."""

    def __post_init__(self) -> None:
        if not self.instances:
            raise ValueError("A received study has at least one instance; got none.")


@dataclass(frozen=True, kw_only=True)
class InstanceAcceptance:
    """What became of one instance; in the order in which they were handed over."""

    outcome: InstanceReceipt
    """A row refers to the file of a new or changed one, and to a duplicate's if it is the same."""
    file_name: str
    """As it was handed over."""


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """The answer to a sender, true once the transaction is committed."""

    study_key: str
    """32 hex digits, random: the only thing that travels."""
    is_new: bool
    """False if the study was known before."""
    instances: tuple[InstanceAcceptance, ...]
    """One for each instance handed over."""
    state: StudyState
    """The study's state now."""
    revision: int
    """1 for the first; +1 each time new images came to a running or finished study, or a changed
    one to any."""


@dataclass(frozen=True, kw_only=True)
class StudyOrder:
    """A study to be fetched from an archive."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    way: RetrieveWay
    """How it is fetched."""
    peer: str | None = None
    """Name of the archive in the file of peers ..."""
    base_url: str | None = field(default=None, repr=False)
    """... or the base URL of a DICOMweb server that stands in no file."""
    priority: Priority = Priority.ROUTINE
    """As asked."""
    source: Source = Source.PULL
    """The way in."""


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """The answer to an order, true once the transaction is committed."""

    study_key: str
    """32 hex digits, random."""
    is_new: bool
    """False if the study was known before: then it was not ordered again."""
    state: StudyState
    """The study's state now."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a claimed study's images come from."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    way: RetrieveWay
    """How they are fetched."""
    peer: str | None
    """Name of the archive in the file of peers ..."""
    base_url: str | None = field(repr=False)
    """... or the base URL of a DICOMweb server that stands in no file."""
    fetched: bool
    """Whether all images were here once."""


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study of which nobody has said yet that it is complete."""

    study_key: str
    """32 hex digits."""
    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    site_ae_title: str | None
    """Who sends it."""
    instances: int
    """How many are here."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a study has come to, as coverage counts it."""

    state: StudyState
    """Where it is."""
    verdict: Verdict | None
    """What it came to."""
    code: str | None
    """Why it failed, or why its first refused image was refused."""


# --- claims ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PriorPrediction:
    """A prediction that this instance already has, so that it need not be made again."""

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
    """An instance to be judged and predicted."""

    id: int
    """Its row."""
    file_name: str
    """Relative to the intake folder."""
    state: InstanceState
    """pending, or what an earlier revision came to."""
    refusal_code: str | None = None
    """Why an earlier revision refused it."""
    prior: tuple[PriorPrediction, ...]
    """What it has already."""
    file_removed: bool = False
    """Its file left by the retention rule: what it has is what it keeps."""


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
    """Passing failures so far: what the next delay is computed from."""
    priority: Priority
    """As asked."""
    lane: Lane
    """Where it came through."""
    source: Source = Source.PYTHON
    """The way in: what was ordered may have to be fetched first."""
    worker_name: str
    """Who holds it; the audit's actor."""
    instances: tuple[ClaimedInstance, ...]
    """All instances of the study that count, in order of arrival."""


# --- results --------------------------------------------------------------------------------------


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


# --- relaying, models, heartbeats, audit ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SweptStudy:
    """A study whose lease had run out."""

    study_key: str
    """Its opaque key."""
    action: SweepAction
    """What was done with it."""


@dataclass(frozen=True, kw_only=True)
class NewModelVersion:
    """A verified bundle, to be registered."""

    name: str
    """e.g. "resnet50-1.0.0"."""
    architecture: str
    """e.g. "resnet50"."""
    bundle_digest: str
    """The manifest's own digest."""
    preprocessing_version: str
    """Which preprocessing it was trained with."""
    temperature: float
    """Calibration: probability = sigmoid(logit / temperature + bias)."""
    bias: float = 0.0
    """Calibration."""
    threshold: float
    """Operating point on the calibrated probability."""
    location: str
    """Its folder, relative to the models folder."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord(NewModelVersion):
    """A registered model version."""

    id: int
    """Its row."""
    is_active: bool
    """Whether it predicts now; at most one does."""
    is_shadow: bool
    """Whether it predicts beside the active one, deciding nothing; at most one does."""
    registered_at: datetime
    """UTC."""
    activated_at: datetime | None
    """UTC, last time."""


@dataclass(frozen=True, kw_only=True)
class ShadowStatus:
    """How the shadow of one worker fares, since that worker loaded it."""

    model_name: str
    """Model version."""
    stored: int = 0
    """Studies of which its predictions were stored."""
    failed: int = 0
    """Studies at which it failed."""
    skipped: int = 0
    """Studies passed over, since it was behind."""


@dataclass(frozen=True, kw_only=True)
class LiveWorker:
    """A worker that was seen lately."""

    worker_name: str
    """Opaque name."""
    lanes: tuple[str, ...]
    """Lanes that it serves."""
    device: str
    """What it computes on."""
    model_name: str | None
    """Model version that it has loaded."""
    shadow: ShadowStatus | None = None
    """Its shadow, if it has loaded one."""
    started_at: datetime
    """UTC."""
    seen_at: datetime
    """UTC, last beat."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What a check of the whole audit trail found."""

    ok: bool
    """True if every record stands as it was written and none is missing or added."""
    records: int
    """How many were checked."""
    first_broken: str | None
    """One sentence that names the first broken record; None if ok."""
