"""The audit trail, worker heartbeats and conditions outside of any study."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId
from db.models.base import Base


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
    """Canonical JSON, stored as text: the hash is over exactly these characters."""
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditChainHead(Base):
    """The end of each chain; its row is locked last in a transaction and updated with each record.

    Triggers refuse to set one back, and to add or remove one.
    """

    __tablename__ = "audit_chain_head"
    __table_args__ = (CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),)

    chain: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(RowId)
    hash: Mapped[str] = mapped_column(String(64))


class AuditForwarded(Base):
    """How far each chain was forwarded to the site's collector of audit messages."""

    __tablename__ = "audit_forwarded"
    __table_args__ = (CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),)

    chain: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(RowId)
    """Number of the last record that the collector has."""


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
    """Studies whose shadow predictions were stored since it was loaded."""
    shadow_failed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Studies on which the shadow failed."""
    shadow_skipped: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Studies that the shadow skipped because too many were pending."""
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class SiteCondition(Base):
    """A condition outside of any study that needs attention, until it ends."""

    __tablename__ = "site_condition"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    """What is concerned: "destination archive", "archive archive", "intake disk"."""
    code: Mapped[str]
    sentence: Mapped[str] = mapped_column(Text)
    times: Mapped[int] = mapped_column(Integer)
    """How often it was met since `since`."""
    since: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """None while it is active."""
