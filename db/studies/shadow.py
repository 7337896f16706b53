"""Store the shadow's predictions, in rows of their own, after the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import insert_if_new
from db.models import InferenceRun, ShadowPrediction
from db.values import Claim, NewShadowPrediction


def store_shadow_predictions(
    session: Session, claim: Claim, predictions: Iterable[NewShadowPrediction]
) -> None:
    """Store the shadow's predictions of frames that the claim's attempt has stored.

    A prediction that exists already is left as it is. No claim is checked and nothing is audited:
    neither the study nor any figure that an analyst counts as a result depends on these rows.
    """
    run_id = session.scalars(
        select(InferenceRun.id).where(
            InferenceRun.study_id == claim.study_id, InferenceRun.attempt == claim.token
        )
    ).one()
    moment = now(session)
    for prediction in predictions:
        insert_if_new(
            session,
            ShadowPrediction,
            inference_run_id=run_id,
            recorded_at=moment,
            **asdict(prediction),
        )
