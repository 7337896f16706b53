"""Studies and their images."""

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
)
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId, partial_index, stored_by_value
from db.models.base import Base, LastError
from db.vocabulary.enums import (
    ClosedBy,
    InstanceState,
    Lane,
    Priority,
    RetrieveWay,
    Source,
    StudyState,
    Verdict,
)


class Study(LastError, Base):
    """One study; the row is the outbox and the retry timer, and holds the verdict."""

    __tablename__ = "study"
    __table_args__ = (
        CheckConstraint("length(study_key) = 32", name="study_key"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        CheckConstraint("revision >= 1", name="revision"),
        Index(None, "state", "due_at"),
        Index(None, "finished_at"),
        # Analysts and `pneumo report` read the newest first.
        Index(None, "received_at"),
        # The few of an old installation whose files are here: the retention rule reads no others.
        partial_index("ix_study_with_files", "state", "finished_at", where="files_left_at IS NULL"),
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
    """Number of the last claim: the fencing token."""
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    crashes_alone: Mapped[int] = mapped_column(Integer, default=0)
    retries: Mapped[int] = mapped_column(Integer, default=0)
    due_at: Mapped[datetime | None]
    """receiving: when the idle window ends; accepted: not published before."""
    published_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    """When this revision's first instance arrived."""
    closed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    """When this revision was claimed first."""
    finished_at: Mapped[datetime | None]
    waiting_seconds: Mapped[float | None]
    """From closed to started; stored at the end, so that views need no date arithmetic."""
    turnaround_seconds: Mapped[float | None]
    """From received to finished."""
    files_left_at: Mapped[datetime | None]
    """When the last file was found unneeded here; None as long as one may be needed."""


class StudyOrigin(Base):
    """The archive from which a worker fetches an ordered study; a study that was sent has no row."""

    __tablename__ = "study_origin"
    __table_args__ = (
        CheckConstraint("(peer IS NULL) <> (base_url IS NULL)", name="peer_or_base_url"),
        partial_index("ix_study_origin_unfetched", "study_id", where="fetched_at IS NULL"),
    )

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    peer: Mapped[str | None]
    """Its name in the file of peers."""
    base_url: Mapped[str | None]
    """Of a DICOMweb server that no file names and that requires no credentials."""
    way: Mapped[RetrieveWay] = mapped_column(stored_by_value(RetrieveWay, "way"))
    ordered_at: Mapped[datetime]
    fetched_at: Mapped[datetime | None]
    """When all images had been fetched for the first time."""
    expected_instances: Mapped[int | None] = mapped_column(Integer)
    """How many instances the archive reported; None if it reported no number."""


class StudyIdentity(Base):
    """Personal identifiers. Deleting a row erases the identity and nothing else."""

    __tablename__ = "study_identity"
    __table_args__ = (
        # The relay looks again and again for rows without pseudonyms; nearly all have them.
        partial_index(
            "ix_study_identity_without_pseudonym",
            "study_id",
            where="patient_pseudonym IS NULL AND accession_pseudonym IS NULL",
        ),
    )

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    patient_id: Mapped[str | None]
    issuer_of_patient_id: Mapped[str | None]
    accession_number: Mapped[str | None]
    patient_pseudonym: Mapped[str | None] = mapped_column(String(64))
    """Of Patient ID and its issuer, by the site's key; None until the relay has filled it in."""
    accession_pseudonym: Mapped[str | None] = mapped_column(String(64))
    recorded_at: Mapped[datetime]


class Instance(Base):
    """One DICOM file."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("study_id", "sop_instance_uid", "file_sha256"),
        # One content counts; the index holds only the rows that were not replaced.
        partial_index(
            "uq_instance_current",
            "study_id",
            "sop_instance_uid",
            where="replaced_in_revision IS NULL",
            unique=True,
        ),
        CheckConstraint("length(file_sha256) = 64", name="file_sha256"),
        Index(None, "file_name"),
        # Most rows of an old installation have no file any more; the index holds those that do.
        partial_index("ix_instance_with_file", "study_id", where="file_removed_at IS NULL"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    revision: Mapped[int] = mapped_column(Integer)
    """Revision of the study with which it came."""
    sop_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    transfer_syntax_name: Mapped[str | None]
    file_sha256: Mapped[str] = mapped_column(String(64))
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    """The SHA-256 that the file would have had by C-STORE: the same for every file meta. None if it is
    not known; then `file_sha256` is used."""
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
    """Revision with which another content of its SOP Instance UID came; None: this one counts."""
    file_removed_at: Mapped[datetime | None]
    """Since when the file is not needed and may be gone; None while it is in the intake folder."""
    file_returned_at: Mapped[datetime | None]
    """When it was sent again after its removal."""


class StudyManifest(Base):
    """The instances of which a study consists, as its sender announced them."""

    __tablename__ = "study_manifest"

    study_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("study.id"), primary_key=True, autoincrement=False
    )
    instances: Mapped[int] = mapped_column(Integer)
    """Their number."""
    sop_instance_uids: Mapped[list[str]] = mapped_column(JSON)
    """Each SOP Instance UID once."""
    received_at: Mapped[datetime]
