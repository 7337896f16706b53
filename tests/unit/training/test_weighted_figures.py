"""Figures under weights are those of the set in which each image stands so often."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import measure
from training.weighted_figures import score_figures, verdict_figures, weighted_auroc

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3 % 2
SCORES = (0.3 * LABELS + 0.6 * RNG.random(60)).round(1)  # rounded: with ties
WEIGHTS = RNG.integers(0, 4, (20, 60))


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.5, 1.0])
def test_every_figure_is_that_of_the_images_drawn(threshold):
    found = verdict_figures(LABELS, SCORES, threshold, WEIGHTS)
    found |= score_figures(LABELS, SCORES, WEIGHTS)
    for row, weights in enumerate(WEIGHTS):
        drawn = measure(LABELS.repeat(weights), SCORES.repeat(weights), threshold)
        for name, values in found.items():
            assert values[row] == pytest.approx(getattr(drawn, name)), name


def test_the_area_alone_is_the_same_area():
    area = score_figures(LABELS, SCORES, WEIGHTS)["auroc"]
    assert (weighted_auroc(LABELS, SCORES, WEIGHTS) == area).all()


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_class_that_was_not_drawn_is_no_number_and_no_warning(left_out):
    weights = (left_out != LABELS).astype(int)[None]
    found = score_figures(LABELS, SCORES, weights) | verdict_figures(LABELS, SCORES, 0.5, weights)
    for name in ("auroc", "specificity_at_97", ("specificity", "recall")[left_out]):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found["accuracy"]).all()
    assert np.isfinite(found["brier"]).all()
