"""Distances from a centre, in the measure of what was seen around it."""

from __future__ import annotations

import pytest
import torch

from worker.model.wrong_image import CUT_OFF, MEAN, WHITENING, WrongImageGuard

MEASURE = torch.tensor([[0.5, 0.0], [0.0, 2.0]])
"""Deviations of 2 and of 1/2 are usual."""
GUARD = WrongImageGuard(mean=torch.tensor([1.0, -1.0]), whitening=MEASURE, cut_off=1.5)


def test_the_distance_is_the_root_mean_square_of_usual_deviations():
    features = torch.tensor([[1.0, -1.0], [3.0, -0.5], [1.0, 0.0], [1.0, -2.0]])
    assert GUARD.distance(features).tolist() == pytest.approx([0, 1, 2**0.5, 2**0.5])


def test_what_is_saved_is_read():
    again = WrongImageGuard.from_reference(GUARD.to_reference(), feature_count=2)
    assert torch.equal(again.mean, GUARD.mean)
    assert torch.equal(again.whitening, GUARD.whitening)
    assert again.whitening.dtype == torch.float32
    assert again.cut_off == 1.5


def test_no_guard_is_none():
    assert WrongImageGuard.from_reference({"drift.score_edges": torch.zeros(3)}) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {MEAN: torch.zeros(3)},
        {MEAN: torch.zeros(2, 1)},
        {WHITENING: torch.zeros(3, 2)},
        {WHITENING: torch.full((2, 2), torch.inf)},
        {CUT_OFF: torch.zeros(2)},
        {CUT_OFF: torch.tensor([torch.nan])},
    ],
    ids=["longer mean", "mean in two dimensions", "taller", "endless", "two cut-offs", "no number"],
)
def test_what_does_not_fit_is_refused(spoilt):
    with pytest.raises(ValueError, match="do not fit one another"):
        WrongImageGuard.from_reference(GUARD.to_reference() | spoilt)


def test_a_guard_of_another_network_is_refused():
    with pytest.raises(ValueError, match="do not fit one another"):
        WrongImageGuard.from_reference(GUARD.to_reference(), feature_count=3)
