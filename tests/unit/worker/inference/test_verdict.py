"""One opacity is enough; nothing eligible is a verdict of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.vocabulary.enums import Verdict
from worker.inference.verdict import frame_verdict, study_verdict

PROBABILITY = st.floats(0, 1)


@pytest.mark.parametrize(
    ("probabilities", "verdict", "highest"),
    [
        ([], Verdict.REJECTED, None),
        ([0.2], Verdict.NEGATIVE, 0.2),
        ([0.3], Verdict.POSITIVE, 0.3),
        ([0.1, 0.9, 0.2], Verdict.POSITIVE, 0.9),
    ],
    ids=["nothing eligible", "below", "equal is positive", "highest of several"],
)
def test_the_study_goes_by_its_highest_probability(probabilities, verdict, highest):
    judged = study_verdict(probabilities, 0.3)
    assert (judged.verdict, judged.probability) == (verdict, highest)


@given(st.lists(PROBABILITY, min_size=1), PROBABILITY)
def test_a_study_is_positive_if_and_only_if_one_frame_is(probabilities, threshold):
    frames = [frame_verdict(p, threshold) for p in probabilities]
    assert (study_verdict(probabilities, threshold).verdict is Verdict.POSITIVE) == (
        Verdict.POSITIVE in frames
    )
