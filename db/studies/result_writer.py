"""Rows and audit entries of one result, instance by instance."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine.statements import insert_if_new
from db.ledger.audit import AuditEntry
from db.ledger.row_digests import prediction_digest, refusal_digest
from db.models import Instance, ModelVersion, Prediction
from db.values import Claim, InstanceOutcome, NewPrediction, RefusalRecord
from db.vocabulary.enums import AuditEvent, InstanceState


class ResultWriter:
    """Writes the instances of one result and collects their audit entries."""

    def __init__(self, session: Session, claim: Claim, run_id: int, moment: datetime) -> None:
        self._session = session
        self._claim = claim
        self._run_id = run_id
        self._moment = moment
        self.entries: list[AuditEntry] = []
        rows = session.execute(select(ModelVersion.id, ModelVersion.name))
        self.model_names: dict[int, str] = {row.id: row.name for row in rows}

    def write(self, outcome: InstanceOutcome) -> None:
        """Write one instance: a refusal, or predictions."""
        instance = self._instance(outcome.instance_id)
        if outcome.refusal is not None:
            self._refuse(instance, outcome.refusal)
            return
        instance.state = InstanceState.PREDICTED
        _put_refusal(instance, None)
        for prediction in outcome.predictions:
            self._predict(instance, prediction)

    def note(self, event: AuditEvent, detail: dict[str, Any]) -> None:
        """Collect one audit entry; all are appended at the end."""
        self.entries.append(
            AuditEntry(
                event=event,
                study_key=self._claim.study_key,
                actor=self._claim.worker_name,
                detail={"attempt": self._claim.token, **detail},
            )
        )

    def _instance(self, instance_id: int) -> Instance:
        instance = self._session.get(Instance, instance_id, populate_existing=True)
        if instance is None or instance.study_id != self._claim.study_id:
            raise ValueError(f"Instance {instance_id} does not belong to the claimed study.")
        return instance

    def _refuse(self, instance: Instance, refusal: RefusalRecord) -> None:
        same = instance.state is InstanceState.REFUSED and _refusal_of(instance) == refusal
        instance.state = InstanceState.REFUSED
        _put_refusal(instance, refusal)
        if same:  # an earlier revision that refused it for the same reason has the entry already
            return
        self.note(
            AuditEvent.INSTANCE_REFUSED,
            {
                "file_sha256": instance.file_sha256,
                "code": refusal.code,
                "step": refusal.step,
                "tag": refusal.tag,
                "row_sha256": refusal_digest(refusal.found, refusal.expected, refusal.sentence),
            },
        )

    def _predict(self, instance: Instance, prediction: NewPrediction) -> None:
        recorded = insert_if_new(
            self._session,
            Prediction,
            instance_id=instance.id,
            inference_run_id=self._run_id,
            recorded_at=self._moment,
            **asdict(prediction),
        )
        if recorded is not None:
            self.note(
                AuditEvent.PREDICTION_RECORDED,
                {
                    "file_sha256": instance.file_sha256,
                    "frame": prediction.frame_number,
                    "model": self.model_names[prediction.model_version_id],
                    "preprocessing": prediction.preprocessing_version,
                    "logit": prediction.logit,
                    "probability": prediction.probability,
                    "threshold": prediction.threshold,
                    "verdict": prediction.verdict.value,
                    "distance": prediction.distance,
                    "device": prediction.device,
                    "row_sha256": prediction_digest(
                        prediction.normalisation, prediction.warnings, self._moment
                    ),
                },
            )


def _refusal_of(instance: Instance) -> RefusalRecord:
    names = (field.name for field in fields(RefusalRecord))
    return RefusalRecord(**{name: getattr(instance, f"refusal_{name}") for name in names})


def _put_refusal(instance: Instance, refusal: RefusalRecord | None) -> None:
    for field in fields(RefusalRecord):
        value = getattr(refusal, field.name) if refusal else None
        setattr(instance, f"refusal_{field.name}", value)
