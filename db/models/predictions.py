"""Model versions, attempts, and what they found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.engine.columns import RowId, stored_by_value
from db.models.base import Base
from db.vocabulary.enums import (
    Lane,
    RunOutcome,
    Verdict,
)


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
