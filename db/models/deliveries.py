"""Results on their way to destinations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId, partial_index, stored_by_value
from db.models.base import Base, LastError
from db.vocabulary.enums import DeliveryState, Verdict


class ResultDestination(Base):
    """A system that receives the results of all studies that finish while it is active."""

    __tablename__ = "result_destination"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    """As in the file of peers."""
    is_active: Mapped[bool]
    """The file of peers names it; otherwise it receives no further results."""
    takes_rejected: Mapped[bool]
    """It also receives results that say that nothing could be evaluated."""
    first_seen_at: Mapped[datetime]
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """Consecutive failures; while there are any, one delivery at a time probes whether it is back."""
    probe_at: Mapped[datetime | None]
    """No delivery to it is tried before this time."""
    forgone_at: Mapped[datetime | None]
    """When somebody cancelled its outstanding deliveries while the file of peers did not name it;
    since then it receives no newer results either."""


class ResultDelivery(LastError, Base):
    """One result on its way to one destination; the row is the outbox and the retry timer."""

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
        partial_index(
            "ix_result_delivery_destination_due_at",
            "destination",
            "due_at",
            where="state IN ('waiting', 'awaiting_commitment')",
        ),
        Index(None, "study_key"),
        Index(None, "created_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_key: Mapped[str] = mapped_column(String(32), unique=True)
    """Random, for messages and logs."""
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    study_key: Mapped[str] = mapped_column(String(32))
    """The study's key, so that the analysts' view reads this table alone."""
    revision: Mapped[int] = mapped_column(Integer)
    model_version_id: Mapped[int] = mapped_column(RowId, ForeignKey("model_version.id"))
    destination: Mapped[str] = mapped_column(String(32), ForeignKey("result_destination.name"))
    state: Mapped[DeliveryState] = mapped_column(stored_by_value(DeliveryState, "state"))
    verdict: Mapped[Verdict] = mapped_column(stored_by_value(Verdict, "verdict"))
    """The study's verdict when this result was stored."""
    finished_at: Mapped[datetime]
    """When this result was stored."""
    predecessor_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    """The delivery whose objects this result says it replaces."""
    superseded_by: Mapped[int | None] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    """The delivery of a newer result of the study to the same destination."""
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the last claim: the fencing token."""
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """Consecutive transient failures."""
    refusals: Mapped[int] = mapped_column(Integer, default=0)
    """How often the destination refused an object or its commitment, or none could be built."""
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    """Consecutive workers that died while they held it."""
    due_at: Mapped[datetime | None]
    """Not tried before; awaiting_commitment: when the request to the destination is repeated."""
    published_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    begun_at: Mapped[datetime | None]
    """Since when the destination may hold an object of it."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
    transaction_uid: Mapped[str | None] = mapped_column(String(64), unique=True)
    """Of the last request for storage commitment; nobody can guess it. `CommitmentAsked` has all."""
    warning: Mapped[str | None]
    """Status with which the destination accepted it, if that was a warning."""


class ResultObject(Base):
    """One object that was sent, or was about to be; its UID identifies it when it comes back."""

    __tablename__ = "result_object"
    __table_args__ = (
        UniqueConstraint("delivery_id", "sop_instance_uid"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
        Index(None, "sop_instance_uid"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(RowId, ForeignKey("result_delivery.id"))
    made_by_attempt: Mapped[int] = mapped_column(Integer)
    """The last attempt that built it; a later one builds others if the result settings changed."""
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the object's bytes as a file."""


class CommitmentAsked(Base):
    """One request for storage commitment; its answer may come days later, after further requests.

    It is deleted once no delivery expects an answer, and the earliest of very many are deleted before.
    """

    __tablename__ = "commitment_asked"

    transaction_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(RowId, ForeignKey("result_delivery.id"), index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    """The attempt whose objects it asks about."""
    asked_at: Mapped[datetime]
    failed_at: Mapped[datetime | None]
    """When the destination did not accept the request; None: it did, as far as is known."""
