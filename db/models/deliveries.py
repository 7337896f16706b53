"""Results on their way to destinations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
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
    DeliveryState,
    FailureKind,
    Verdict,
)


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
