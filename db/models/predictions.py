"""Model versions, attempts and predictions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Constraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId, partial_index, stored_by_value
from db.models.base import Base
from db.vocabulary.enums import Lane, RunOutcome, Verdict


class ModelVersion(Base):
    """One registered bundle."""

    __tablename__ = "model_version"
    __table_args__ = (
        # At most one row is active, and one the shadow: each index holds only such rows.
        partial_index("uq_model_version_active", "is_active", where="is_active", unique=True),
        partial_index("uq_model_version_shadow", "is_shadow", where="is_shadow", unique=True),
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
    """It predicts beside the active version, into `shadow_prediction`, and decides nothing."""
    registered_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]


class InferenceRun(Base):
    """One attempt at a study: by whom, on which device, how long, with which outcome."""

    __tablename__ = "inference_run"
    __table_args__ = (
        UniqueConstraint("study_id", "attempt"),
        Index(None, "outcome", "lease_until"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_id: Mapped[int] = mapped_column(RowId, ForeignKey("study.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer)
    """Revision of the study on which this attempt worked."""
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


class _FrameScore:
    """The columns of one frame's score, and the constraints that make storing it twice a no-op."""

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    instance_id: Mapped[int] = mapped_column(RowId, ForeignKey("instance.id"))
    inference_run_id: Mapped[int] = mapped_column(RowId, ForeignKey("inference_run.id"))
    """The attempt in which the active model predicted the frame."""
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
    recorded_at: Mapped[datetime]


def _constraints(table: str) -> tuple[Constraint | Index, ...]:
    return (
        UniqueConstraint(
            "instance_id",
            "frame_number",
            "model_version_id",
            "preprocessing_version",
            name=f"uq_{table}_instance_frame_model_preprocessing",
        ),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        CheckConstraint("frame_number >= 1", name="frame_number"),
        Index(None, "inference_run_id"),
        Index(None, "recorded_at"),
    )


class Prediction(_FrameScore, Base):
    """One frame's score."""

    __tablename__ = "prediction"
    __table_args__ = _constraints(__tablename__)

    normalisation: Mapped[dict[str, Any]] = mapped_column(JSON)
    warnings: Mapped[list[Any]] = mapped_column(JSON)


class ShadowPrediction(_FrameScore, Base):
    """The shadow's score of a frame that the active model predicted; it decides nothing.

    Verdict rejected: beyond its own cut-off, the shadow would not have assessed the frame.
    """

    __tablename__ = "shadow_prediction"
    __table_args__ = _constraints(__tablename__)
