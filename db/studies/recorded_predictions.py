"""Recorded predictions with what is needed to compute them again, and the record that this was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger.audit import AuditEntry, append_entries
from db.models import Instance, ModelVersion, Prediction, Study
from db.values import RecordedPrediction
from db.values.rows import from_row
from db.vocabulary.enums import AuditEvent


def predictions_of_study(
    session: Session, study_key: str, *, instance_number: int | None = None
) -> list[RecordedPrediction]:
    """Return a study's predictions in order of recording.

    Args:
        session: A reading session.
        study_key: The study's opaque key.
        instance_number: Only those of this instance, counted from 1 in order of arrival.
    """
    found = _recorded(session, study_key)
    return [p for p in found if instance_number is None or p.instance_number == instance_number]


def prediction_by_id(session: Session, prediction_id: int) -> RecordedPrediction | None:
    """Return one prediction; None if there is no such row."""
    study_key = session.scalar(
        select(Study.study_key)
        .join(Instance, Instance.study_id == Study.id)
        .join(Prediction, Prediction.instance_id == Instance.id)
        .where(Prediction.id == prediction_id)
    )
    if study_key is None:
        return None
    return next(p for p in _recorded(session, study_key) if p.prediction_id == prediction_id)


def record_verifications(
    session: Session, verified: Sequence[tuple[RecordedPrediction, Mapping[str, Any]]], actor: str
) -> None:
    """Append an audit record for each prediction that was computed again, with what was found."""
    append_entries(
        session,
        [
            AuditEntry(
                event=AuditEvent.PREDICTION_VERIFIED,
                study_key=prediction.study_key,
                actor=actor,
                detail={
                    "file_sha256": prediction.file_sha256,
                    "frame": prediction.frame_number,
                    "model": prediction.model_name,
                    **found,
                },
            )
            for prediction, found in verified
        ],
    )


def _recorded(session: Session, study_key: str) -> list[RecordedPrediction]:
    ids = session.scalars(
        select(Instance.id)
        .join(Study, Study.id == Instance.study_id)
        .where(Study.study_key == study_key)
        .order_by(Instance.id)
    ).all()
    numbers = {instance_id: number for number, instance_id in enumerate(ids, start=1)}
    rows = session.execute(
        select(Prediction, Instance, ModelVersion.name)
        .join(Instance, Instance.id == Prediction.instance_id)
        .join(ModelVersion, ModelVersion.id == Prediction.model_version_id)
        .join(Study, Study.id == Instance.study_id)
        .where(Study.study_key == study_key)
        .order_by(Prediction.id)
    )
    return [
        from_row(
            RecordedPrediction,
            row,
            prediction_id=row.id,
            study_key=study_key,
            instance_number=numbers[instance.id],
            file_name=instance.file_name,
            file_sha256=instance.file_sha256,
            file_removed=instance.file_removed_at is not None,
            model_name=model_name,
            warnings=tuple(row.warnings),
        )
        for row, instance, model_name in rows
    ]
