"""Studies, and the images that they consist of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId, stored_by_value
from db.models.base import Base
from db.vocabulary.enums import (
    ClosedBy,
    FailureKind,
    InstanceState,
    Lane,
    Priority,
    RetrieveWay,
    Source,
    StudyState,
    Verdict,
)


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
