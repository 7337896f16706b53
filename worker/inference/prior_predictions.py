"""What an earlier model said of images whose files have left since.

New images can come to a study whose first files left by the retention rule. The active model sees the
new ones alone. What was found in the others stands, by the model that found it: a positive must not
vanish because its file did.
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
    """Of each instance without file those by its last model, unless that is model `excluding_model`."""
    stand: list[PriorPrediction] = []
    for instance in instances:
        if instance.file_removed and instance.prior:
            last = instance.prior[-1].model_version_id
            stand += [p for p in instance.prior if last == p.model_version_id != excluding_model]
    return stand


def with_prior_predictions(
    outcome: StudyOutcome, earlier: Sequence[PriorPrediction]
) -> StudyOutcome:
    """The study's outcome with what stands: an earlier positive, or all that there is.

    The study then has probability, threshold and model of that prediction, so that the three go
    together. Where both models say the same the active one's numbers stay.
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
