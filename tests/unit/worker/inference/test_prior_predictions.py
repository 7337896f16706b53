"""What was found in images whose files have left stands beside what the active model says now."""

from __future__ import annotations

import pytest

from db.values import ClaimedInstance, PriorPrediction, StudyOutcome
from db.vocabulary.enums import InstanceState, Verdict
from worker.inference.prior_predictions import latest_prior_predictions, with_prior_predictions

OLD, OLDER, ACTIVE = 2, 1, 3


def prediction(probability, model=OLD, threshold=0.6):
    return PriorPrediction(
        model_version_id=model,
        preprocessing_version="1",
        frame_number=1,
        probability=probability,
        threshold=threshold,
    )


def instance(*prior, file_removed=True):
    return ClaimedInstance(
        id=1,
        file_name="ab/c.dcm",
        state=InstanceState.PREDICTED,
        prior=prior,
        file_removed=file_removed,
    )


def outcome(verdict, probability=None):
    return StudyOutcome(
        verdict=verdict,
        probability=probability,
        threshold=None if probability is None else 0.4,
        model_version_id=ACTIVE,
        instances=(),
        seconds=None,
    )


@pytest.mark.parametrize(
    ("found", "earlier", "expected"),
    [
        (outcome(Verdict.NEGATIVE, 0.1), [0.7], (Verdict.POSITIVE, 0.7, 0.6, OLD)),
        (outcome(Verdict.NEGATIVE, 0.1), [0.5, 0.2], (Verdict.NEGATIVE, 0.1, 0.4, None)),
        (outcome(Verdict.POSITIVE, 0.45), [0.99], (Verdict.POSITIVE, 0.45, 0.4, None)),
        (outcome(Verdict.REJECTED), [0.2, 0.3], (Verdict.NEGATIVE, 0.3, 0.6, OLD)),
        (outcome(Verdict.REJECTED), [], (Verdict.REJECTED, None, None, None)),
    ],
    ids=["positive stands", "both negative", "both positive", "all there is", "nothing"],
)
def test_an_earlier_positive_does_not_vanish_with_its_file(found, earlier, expected):
    came_to = with_prior_predictions(found, [prediction(p) for p in earlier])
    assert (
        came_to.verdict,
        came_to.probability,
        came_to.threshold,
        came_to.decided_by,
    ) == expected
    assert came_to.model_version_id == ACTIVE


def test_only_the_last_model_speaks_and_only_where_the_file_left():
    before, last = prediction(0.9, OLDER), prediction(0.3, OLD)
    stand = latest_prior_predictions(
        [instance(before, last), instance(last, file_removed=False), instance()],
        excluding_model=ACTIVE,
    )
    assert stand == [last]
    assert latest_prior_predictions([instance(before, last)], excluding_model=OLD) == []
