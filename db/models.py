"""The tables. What each column means to an analyst stands in db/views and docs/analysts.md.

Personal identifiers live in `study_identity` alone, so that they can be erased without touching a
result or the audit trail. UIDs never leave this database: what travels is the random `study_key`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.columns import NAMING_CONVENTION, RowId, UtcDateTime, stored_by_value
from db.enums import (
    ClosedBy,
    DeliveryState,
    FailureKind,
    InstanceState,
    Lane,
    Priority,
    RetrieveWay,
    RunOutcome,
    Source,
    StudyState,
    Verdict,
)


class Base(DeclarativeBase):
    """All tables share one naming convention and one way to store a moment."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime(), float: Float(53), str: String()}  # noqa: RUF012


class Study(Base):
    """One study; its row is the outbox, the retry timer and the place of its verdict."""

    __tablename__ = "study"
    __table_args__ = (
        CheckConstraint("length(study_key) = 32", name="study_key"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        CheckConstraint("revision >= 1", name="revision"),
        Index(None, "state", "due_at"),
        Index(None, "finished_at"),
        # Analysts and `pneumo report` begin at the newest.
        Index(None, "received_at"),
        # The few of an old installation whose files are here: the retention rule looks at no others.
        Index(
            "ix_study_with_files",
            "state",
            "finished_at",
            sqlite_where=text("files_left_at IS NULL"),
            postgresql_where=text("files_left_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_key: Mapped[str] = mapped_column(String(32), unique=True)
    study_instance_uid: Mapped[str] = mapped_column(unique=True)
    revision: Mapped[int] = mapped_column(Integer)
    state: Mapped[StudyState] = mapped_column(stored_by_value(StudyState, "state"))
    priority: Mapped[Priority] = mapped_column(stored_by_value(Priority, "priority"))
    lane: Mapped[Lane] = mapped_column(stored_by_value(Lane, "lane"))
    source: Mapped[Source] = mapped_column(stored_by_value(Source, "source"))
    site_ae_title: Mapped[str | None]
    patient_sex: Mapped[str | None]
    patient_age_years: Mapped[float | None]
    closed_by: Mapped[ClosedBy | None] = mapped_column(stored_by_value(ClosedBy, "closed_by"))
    verdict: Mapped[Verdict | None] = mapped_column(stored_by_value(Verdict, "verdict"))
    probability: Mapped[float | None]
    threshold: Mapped[float | None]
    model_version_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("model_version.id"))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the last claim, which is the fencing token."""
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    crashes_alone: Mapped[int] = mapped_column(Integer, default=0)
    retries: Mapped[int] = mapped_column(Integer, default=0)
    due_at: Mapped[datetime | None]
    """receiving: when the idle window ends; accepted: not to be published before."""
    published_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    """When this revision's first instance came."""
    closed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    """First claim of this revision."""
    finished_at: Mapped[datetime | None]
    waiting_seconds: Mapped[float | None]
    """Closed until started; written at the finish, so that views need no date arithmetic."""
    turnaround_seconds: Mapped[float | None]
    """Received until finished."""
    error_code: Mapped[str | None]
    error_sentence: Mapped[str | None] = mapped_column(Text)
    error_kind: Mapped[FailureKind | None] = mapped_column(
        stored_by_value(FailureKind, "error_kind")
    )
    traceback_reference: Mapped[str | None]
    files_left_at: Mapped[datetime | None]
    """Since then none of its files is needed here; None as long as one may be."""


class StudyOrigin(Base):
    """Where a worker fetches an ordered study from; a study that was sent to us has no such row."""

    __tablename__ = "study_origin"
    __table_args__ = (
        CheckConstraint("(peer IS NULL) <> (base_url IS NULL)", name="peer_or_base_url"),
        Index(
            "ix_study_origin_unfetched",
            "study_id",
            sqlite_where=text("fetched_at IS NULL"),
            postgresql_where=text("fetched_at IS NULL"),
        ),
    )

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    peer: Mapped[str | None]
    """Its name in the file of peers."""
    base_url: Mapped[str | None]
    """Of a DICOMweb server that stands in no file and asks for no credentials."""
    way: Mapped[RetrieveWay] = mapped_column(stored_by_value(RetrieveWay, "way"))
    ordered_at: Mapped[datetime]
    fetched_at: Mapped[datetime | None]
    """When all images were here for the first time."""
    expected_instances: Mapped[int | None] = mapped_column(Integer)
    """How many the archive says the study has; None if it did not say."""


class StudyIdentity(Base):
    """What identifies a person. Deleting a row here erases the identity and nothing else."""

    __tablename__ = "study_identity"

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    patient_id: Mapped[str | None]
    accession_number: Mapped[str | None]
    recorded_at: Mapped[datetime]


class Instance(Base):
    """One DICOM file."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("study_id", "sop_instance_uid", "file_sha256"),
        # One content counts; the index holds only the rows that no other has replaced.
        Index(
            "uq_instance_current",
            "study_id",
            "sop_instance_uid",
            unique=True,
            sqlite_where=text("replaced_in_revision IS NULL"),
            postgresql_where=text("replaced_in_revision IS NULL"),
        ),
        CheckConstraint("length(file_sha256) = 64", name="file_sha256"),
        Index(None, "file_name"),
        # Most rows of an old installation have no file any more: these are the ones that do.
        Index(
            "ix_instance_with_file",
            "study_id",
            sqlite_where=text("file_removed_at IS NULL"),
            postgresql_where=text("file_removed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    revision: Mapped[int] = mapped_column(Integer)
    """Revision of the study that it came with."""
    sop_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    transfer_syntax_name: Mapped[str | None]
    file_sha256: Mapped[str] = mapped_column(String(64))
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    """What the file's SHA-256 would be, had it come by C-STORE: the same however it was wrapped on its
    way. None where that is not known: then `file_sha256` speaks for it."""
    file_name: Mapped[str]
    file_bytes: Mapped[int] = mapped_column(RowId)
    modality: Mapped[str | None]
    body_part: Mapped[str | None]
    view_position: Mapped[str | None]
    manufacturer: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(Integer)
    columns: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[InstanceState] = mapped_column(stored_by_value(InstanceState, "state"))
    refusal_code: Mapped[str | None]
    refusal_tag: Mapped[str | None]
    refusal_found: Mapped[str | None]
    refusal_expected: Mapped[str | None]
    refusal_sentence: Mapped[str | None] = mapped_column(Text)
    refusal_step: Mapped[str | None]
    received_at: Mapped[datetime]
    replaced_in_revision: Mapped[int | None] = mapped_column(Integer)
    """Another content of the same SOP Instance UID came with that revision; None: this one counts."""
    file_removed_at: Mapped[datetime | None]
    """Since then the file is not needed and may be gone; None while it lies in the intake folder."""
    file_returned_at: Mapped[datetime | None]
    """When it was sent again after it had left."""


class StudyManifest(Base):
    """What the sender said a study consists of."""

    __tablename__ = "study_manifest"

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    instances: Mapped[int] = mapped_column(Integer)
    """How many."""
    sop_instance_uids: Mapped[list[str]] = mapped_column(JSON)
    """Each once."""
    received_at: Mapped[datetime]


class ModelVersion(Base):
    """One registered bundle."""

    __tablename__ = "model_version"
    __table_args__ = (
        # At most one row may be active, and one the shadow: the index holds only rows where it is.
        Index(
            "uq_model_version_active",
            "is_active",
            unique=True,
            sqlite_where=text("is_active"),
            postgresql_where=text("is_active"),
        ),
        Index(
            "uq_model_version_shadow",
            "is_shadow",
            unique=True,
            sqlite_where=text("is_shadow"),
            postgresql_where=text("is_shadow"),
        ),
        CheckConstraint("NOT (is_active AND is_shadow)", name="one_role"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    architecture: Mapped[str]
    bundle_digest: Mapped[str] = mapped_column(unique=True)
    preprocessing_version: Mapped[str]
    temperature: Mapped[float]
    bias: Mapped[float] = mapped_column(server_default=text("0"))
    threshold: Mapped[float]
    location: Mapped[str]
    is_active: Mapped[bool]
    is_shadow: Mapped[bool] = mapped_column(server_default=false())
    """It predicts beside the active one, into `shadow_prediction`, and decides nothing."""
    registered_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]


class InferenceRun(Base):
    """One attempt at a study: who, on what, how long, how it ended."""

    __tablename__ = "inference_run"
    __table_args__ = (
        UniqueConstraint("study_id", "attempt"),
        Index(None, "outcome", "lease_until"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer)
    """Revision of the study that this attempt saw."""
    worker_name: Mapped[str]
    lane: Mapped[Lane] = mapped_column(stored_by_value(Lane, "lane"))
    model_version_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("model_version.id"))
    device: Mapped[str | None]
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[RunOutcome] = mapped_column(stored_by_value(RunOutcome, "outcome"))
    error_code: Mapped[str | None]
    read_seconds: Mapped[float | None]
    normalise_seconds: Mapped[float | None]
    inference_seconds: Mapped[float | None]
    store_seconds: Mapped[float | None]
    total_seconds: Mapped[float | None]


class Prediction(Base):
    """One frame's score. The unique constraint makes storing it twice a no-op."""

    __tablename__ = "prediction"
    __table_args__ = (
        UniqueConstraint(
            "instance_id",
            "frame_number",
            "model_version_id",
            "preprocessing_version",
            name="uq_prediction_instance_frame_model_preprocessing",
        ),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        CheckConstraint("frame_number >= 1", name="frame_number"),
        Index(None, "inference_run_id"),
        Index(None, "recorded_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    instance_id: Mapped[int] = mapped_column(RowId, ForeignKey("instance.id"))
    inference_run_id: Mapped[int] = mapped_column(RowId, ForeignKey("inference_run.id"))
    model_version_id: Mapped[int] = mapped_column(RowId, ForeignKey("model_version.id"))
    frame_number: Mapped[int] = mapped_column(Integer)
    preprocessing_version: Mapped[str]
    logit: Mapped[float]
    probability: Mapped[float]
    threshold: Mapped[float]
    verdict: Mapped[Verdict] = mapped_column(stored_by_value(Verdict, "verdict"))
    distance: Mapped[float | None]
    """From the model's training set; None if its bundle has no guard."""
    device: Mapped[str]
    normalisation: Mapped[dict[str, Any]] = mapped_column(JSON)
    warnings: Mapped[list[Any]] = mapped_column(JSON)
    recorded_at: Mapped[datetime]


class ShadowPrediction(Base):
    """What the shadow said of a frame that the active model predicted; it decides nothing."""

    __tablename__ = "shadow_prediction"
    __table_args__ = (
        UniqueConstraint(
            "instance_id",
            "frame_number",
            "model_version_id",
            "preprocessing_version",
            name="uq_shadow_prediction_instance_frame_model_preprocessing",
        ),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        CheckConstraint("frame_number >= 1", name="frame_number"),
        Index(None, "inference_run_id"),
        Index(None, "recorded_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    instance_id: Mapped[int] = mapped_column(RowId, ForeignKey("instance.id"))
    inference_run_id: Mapped[int] = mapped_column(RowId, ForeignKey("inference_run.id"))
    """The attempt in which the active model predicted the frame."""
    model_version_id: Mapped[int] = mapped_column(RowId, ForeignKey("model_version.id"))
    """The shadow."""
    frame_number: Mapped[int] = mapped_column(Integer)
    preprocessing_version: Mapped[str]
    logit: Mapped[float]
    probability: Mapped[float]
    threshold: Mapped[float]
    verdict: Mapped[Verdict] = mapped_column(stored_by_value(Verdict, "verdict"))
    """rejected: beyond the shadow's own cut-off, it would not have assessed the frame."""
    distance: Mapped[float | None]
    device: Mapped[str]
    recorded_at: Mapped[datetime]


class AuditRecord(Base):
    """One link of a hash chain. Triggers refuse UPDATE and DELETE."""

    __tablename__ = "audit_record"
    __table_args__ = (
        UniqueConstraint("chain", "sequence"),
        CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),
        Index(None, "study_key"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    chain: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int] = mapped_column(RowId)
    event: Mapped[str]
    occurred_at: Mapped[datetime]
    study_key: Mapped[str | None] = mapped_column(String(32))
    actor: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)
    """Canonical JSON, kept as text: the hash is over these very characters."""
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditChainHead(Base):
    """Where each chain ends; its row is locked last in a transaction and moved with each record."""

    __tablename__ = "audit_chain_head"
    __table_args__ = (CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),)

    chain: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(RowId)
    hash: Mapped[str] = mapped_column(String(64))


class WorkerHeartbeat(Base):
    """One row for each worker process, by an opaque name."""

    __tablename__ = "worker_heartbeat"

    worker_name: Mapped[str] = mapped_column(primary_key=True)
    lanes: Mapped[str]
    """Lanes that it serves, joined by commas."""
    device: Mapped[str]
    model_name: Mapped[str | None]
    shadow_name: Mapped[str | None]
    """The shadow that it has loaded."""
    shadow_stored: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Studies of which the shadow's predictions were stored since it was loaded."""
    shadow_failed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Studies at which the shadow failed."""
    shadow_skipped: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Studies passed over, since the shadow was behind."""
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class ResultDestination(Base):
    """A system that gets the results of all studies that finish while it is active."""

    __tablename__ = "result_destination"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    """As in the file of peers."""
    is_active: Mapped[bool]
    """It stands in the file; else it gets no further results."""
    takes_rejected: Mapped[bool]
    """It also gets results that say that nothing could be evaluated."""
    first_seen_at: Mapped[datetime]
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """In a row; while there are any, one delivery at a time probes whether it is back."""
    probe_at: Mapped[datetime | None]
    """No delivery to it is tried before."""
    forgone_at: Mapped[datetime | None]
    """Since when somebody has let go what it is owed while it is out of the file; then it is not told
    of newer results either."""


class ResultDelivery(Base):
    """One result on its way to one destination; its row is the outbox and the retry timer."""

    __tablename__ = "result_delivery"
    __table_args__ = (
        UniqueConstraint(
            "study_id",
            "revision",
            "model_version_id",
            "destination",
            name="uq_result_delivery_study_revision_model_destination",
        ),
        CheckConstraint("length(delivery_key) = 32", name="delivery_key"),
        Index(None, "state", "due_at"),
        Index(None, "destination", "state"),
        Index(
            "ix_result_delivery_destination_due_at",
            "destination",
            "due_at",
            postgresql_where=text("state IN ('waiting', 'awaiting_commitment')"),
            sqlite_where=text("state IN ('waiting', 'awaiting_commitment')"),
        ),
        Index(None, "study_key"),
        Index(None, "created_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_key: Mapped[str] = mapped_column(String(32), unique=True)
    """Random, for messages and logs."""
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    study_key: Mapped[str] = mapped_column(String(32))
    """The study's, so that the analysts' view reads this table alone."""
    revision: Mapped[int] = mapped_column(Integer)
    model_version_id: Mapped[int] = mapped_column(RowId, ForeignKey("model_version.id"))
    destination: Mapped[str] = mapped_column(String(32), ForeignKey("result_destination.name"))
    state: Mapped[DeliveryState] = mapped_column(stored_by_value(DeliveryState, "state"))
    verdict: Mapped[Verdict] = mapped_column(stored_by_value(Verdict, "verdict"))
    """Of the study when this result came about."""
    finished_at: Mapped[datetime]
    """When this result came about."""
    predecessor_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    """The delivery whose objects this result says it takes the place of."""
    superseded_by: Mapped[int | None] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    """The delivery of a newer result of the study to the same destination."""
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the last claim, which is the fencing token."""
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """Passing failures in a row."""
    refusals: Mapped[int] = mapped_column(Integer, default=0)
    """How often the destination refused an object or its safe-keeping, or it could not be made."""
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    """Workers that died with it in a row."""
    due_at: Mapped[datetime | None]
    """Not to be tried before; awaiting_commitment: when the destination is asked again."""
    published_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    begun_at: Mapped[datetime | None]
    """Since when the destination may hold an object of it."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
    transaction_uid: Mapped[str | None] = mapped_column(String(64), unique=True)
    """Of the last request for storage commitment; nobody can guess it. All: `CommitmentAsked`."""
    warning: Mapped[str | None]
    """Status with which the destination took it, if that was a warning."""
    error_code: Mapped[str | None]
    error_sentence: Mapped[str | None] = mapped_column(Text)
    error_kind: Mapped[FailureKind | None] = mapped_column(
        stored_by_value(FailureKind, "error_kind")
    )
    traceback_reference: Mapped[str | None]


class ResultObject(Base):
    """One object that was sent, or was about to be; by its UID it is known when it comes back."""

    __tablename__ = "result_object"
    __table_args__ = (
        UniqueConstraint("delivery_id", "sop_instance_uid"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
        Index(None, "sop_instance_uid"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    made_by_attempt: Mapped[int] = mapped_column(Integer)
    """The last attempt that made it; with other words of the site a later one makes others."""
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    """Of its bytes as a file."""


class CommitmentAsked(Base):
    """One request for storage commitment; its answer may come days later, after further requests.

    Forgotten once nobody waits for it, and the earliest of very many before.
    """

    __tablename__ = "commitment_asked"

    transaction_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(RowId, ForeignKey("result_delivery.id"), index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    """The sending that it asks about."""
    asked_at: Mapped[datetime]
    failed_at: Mapped[datetime | None]
    """When the destination did not take the question; None: it did, as far as is known."""


class SiteCondition(Base):
    """Something outside of any study that is not as it should be, until it is again."""

    __tablename__ = "site_condition"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    """What it is about: "destination archive", "archive archive", "intake disk"."""
    code: Mapped[str]
    sentence: Mapped[str] = mapped_column(Text)
    times: Mapped[int] = mapped_column(Integer)
    """How often it was met since it began."""
    since: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """None while it holds."""
