"""Metrics, checked by hand on sets of a few images, and by scikit-learn on resamples of more."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from training.evaluate.metrics import (
    auroc,
    expected_calibration_error,
    measure,
    ranking_metrics,
    threshold_metrics,
    weighted_auroc,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9])
# At .5: three normals and three pneumonias are right, one of each is wrong.


def test_threshold_metrics_by_hand():
    figures = measure(LABELS, SCORES, 0.5)
    assert figures.images == 8
    for name in ("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy"):
        assert getattr(figures, name) == pytest.approx(0.75), name
    assert figures.mcc == pytest.approx((3 * 3 - 1 * 1) / 16)  # every margin is 4


def test_balanced_accuracy_weighs_the_classes_alike():
    figures = measure(np.array([0, 1, 1, 1]), np.array([0.9, 0.9, 0.9, 0.1]), 0.5)
    assert figures.balanced_accuracy == pytest.approx((0 + 2 / 3) / 2)
    assert figures.accuracy == pytest.approx(2 / 4)


def test_nothing_called_positive_gives_noughts_and_no_warning():
    figures = measure(LABELS, SCORES, 0.95)
    assert (figures.precision, figures.recall, figures.f1, figures.mcc) == (0, 0, 0, 0)
    assert figures.specificity == 1


def test_ranking_by_hand():
    # Of 16 pairs, .7 stands above .4 and above .6: 14 are in order.
    assert auroc(LABELS, SCORES) == pytest.approx(14 / 16)
    # In descending order the pneumonias come at ranks 1, 2, 4 and 5.
    assert measure(LABELS, SCORES, 0.5).auprc == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 5) / 4)


def test_brier_by_hand():
    squares = [0.01, 0.04, 0.09, 0.49, 0.36, 0.16, 0.04, 0.01]
    assert measure(LABELS, SCORES, 0.5).brier == pytest.approx(sum(squares) / 8)


def test_specificity_at_a_sensitivity_is_that_of_the_best_threshold():
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])
    assert measure(labels, scores, 0.5).specificity_at_97 == 0.5  # at .2, not at .1
    assert measure(LABELS, SCORES, 0.5).specificity_at_95 == 0.75  # all four pneumonias: at .4


def test_calibration_error_by_hand():
    # Fewer images than bins: each is a bin of its own.
    assert expected_calibration_error(np.array([0, 1]), np.array([0.3, 0.9])) == pytest.approx(0.2)


def test_calibration_error_does_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    labels = (rng.random(200) < scores**2).astype(int)
    order = rng.permutation(200)
    assert expected_calibration_error(labels[order], scores[order]) == pytest.approx(
        expected_calibration_error(labels, scores)
    )


def test_figures_by_name_are_rounded():
    labels, scores = np.array([0, 1, 1]), np.array([0.1, 0.9, 0.2])
    assert measure(labels, scores, 0.5).to_dict()["accuracy"] == 0.66667
    assert set(measure(LABELS, SCORES, 0.5).to_dict()) > {"specificity_at_97", "auprc", "mcc"}


RNG = np.random.default_rng(0)
MANY_LABELS = np.arange(60) % 3 % 2
MANY_SCORES = (0.3 * MANY_LABELS + 0.6 * RNG.random(60)).round(1)  # rounded: with ties
WEIGHTS = RNG.integers(0, 4, (20, 60))


def by_scikit_learn(labels, scores, threshold) -> dict[str, float]:
    positive = scores >= threshold
    false_rate, true_rate, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    return {
        "accuracy": oracle.accuracy_score(labels, positive),
        "precision": oracle.precision_score(labels, positive, zero_division=0),
        "recall": oracle.recall_score(labels, positive),
        "f1": oracle.f1_score(labels, positive, zero_division=0),
        "specificity": oracle.recall_score(labels, positive, pos_label=0),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, positive),
        "mcc": oracle.matthews_corrcoef(labels, positive),
        "auroc": oracle.roc_auc_score(labels, scores),
        "auprc": oracle.average_precision_score(labels, scores),
        "brier": oracle.brier_score_loss(labels, scores),
        **{
            f"specificity_at_{percent}": 1 - false_rate[true_rate >= percent / 100 - 1e-12].min()
            for percent in (95, 97, 99)
        },
    }


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.5, 1.0])
def test_every_metric_is_that_of_the_images_drawn(threshold):
    found = threshold_metrics(MANY_LABELS, MANY_SCORES, threshold, WEIGHTS)
    found |= ranking_metrics(MANY_LABELS, MANY_SCORES, WEIGHTS)
    for row, weights in enumerate(WEIGHTS):
        drawn = MANY_LABELS.repeat(weights), MANY_SCORES.repeat(weights)
        expected = by_scikit_learn(*drawn, threshold)
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)
        whole = vars(measure(*drawn, threshold))
        assert {name: whole[name] for name in expected} == pytest.approx(expected)


def test_the_area_alone_is_the_same_area():
    area = ranking_metrics(MANY_LABELS, MANY_SCORES, WEIGHTS)["auroc"]
    assert (weighted_auroc(MANY_LABELS, MANY_SCORES, WEIGHTS) == area).all()


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_class_that_was_not_drawn_is_no_number_and_no_warning(left_out):
    weights = (left_out != MANY_LABELS).astype(int)[None]
    found = ranking_metrics(MANY_LABELS, MANY_SCORES, weights)
    found |= threshold_metrics(MANY_LABELS, MANY_SCORES, 0.5, weights)
    for name in ("auroc", "specificity_at_97", ("specificity", "recall")[left_out]):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found["accuracy"]).all()
    assert np.isfinite(found["brier"]).all()
