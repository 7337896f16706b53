"""Predictions by an earlier model of images whose files were removed since.

New images can come to a study whose first files the retention rule removed. The active model sees
only the new ones. The earlier predictions of the others remain valid: a positive must not disappear
because its file did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from db.values import ClaimedInstance, PriorPrediction, StudyOutcome
from db.vocabulary.enums import Verdict
from worker.inference.verdict import frame_verdict


def latest_prior_predictions(
    instances: Sequence[ClaimedInstance], *, excluding_model: int
) -> list[PriorPrediction]:
    """Return, of each instance without a file, the predictions by its last model.

    Those by the model `excluding_model` are left out.
    """
    latest: list[PriorPrediction] = []
    for instance in instances:
        if instance.file_removed and instance.prior:
            last = instance.prior[-1].model_version_id
            latest += [p for p in instance.prior if last == p.model_version_id != excluding_model]
    return latest


def with_prior_predictions(
    outcome: StudyOutcome, earlier: Sequence[PriorPrediction]
) -> StudyOutcome:
    """Return the outcome, with an earlier prediction that is positive or the only one there is.

    The study then has probability, threshold and model of that prediction, so that the three belong
    together. If both models agree, the active one's numbers remain.
    """
    if not earlier:
        return outcome
    highest = max(earlier, key=lambda p: (_verdict(p) is Verdict.POSITIVE, p.probability))
    adds = outcome.verdict is Verdict.NEGATIVE and _verdict(highest) is Verdict.POSITIVE
    if outcome.verdict is not Verdict.REJECTED and not adds:
        return outcome
    return replace(
        outcome,
        verdict=_verdict(highest),
        probability=highest.probability,
        threshold=highest.threshold,
        decided_by=highest.model_version_id,
    )


def _verdict(prediction: PriorPrediction) -> Verdict:
    return frame_verdict(prediction.probability, prediction.threshold)
