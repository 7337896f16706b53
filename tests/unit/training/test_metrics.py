"""Figures, checked by hand on sets of a few images."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import (
    auroc,
    expected_calibration_error,
    measure,
    recall_by_subtype,
    specificity_at,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SAID = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9])
# At .5: three normals and three pneumonias are right, one of each is wrong.


def test_verdict_figures_by_hand():
    figures = measure(LABELS, SAID, 0.5)
    assert figures.images == 8
    for name in ("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy"):
        assert getattr(figures, name) == pytest.approx(0.75), name
    assert figures.mcc == pytest.approx((3 * 3 - 1 * 1) / 16)  # every margin is 4


def test_balanced_accuracy_weighs_the_classes_alike():
    figures = measure(np.array([0, 1, 1, 1]), np.array([0.9, 0.9, 0.9, 0.1]), 0.5)
    assert figures.balanced_accuracy == pytest.approx((0 + 2 / 3) / 2)
    assert figures.accuracy == pytest.approx(2 / 4)


def test_nothing_called_positive_gives_noughts_and_no_warning():
    figures = measure(LABELS, SAID, 0.95)
    assert (figures.precision, figures.recall, figures.f1, figures.mcc) == (0, 0, 0, 0)
    assert figures.specificity == 1


def test_ranking_by_hand():
    # Of 16 pairs, .7 stands above .4 and above .6: 14 are in order.
    assert auroc(LABELS, SAID) == pytest.approx(14 / 16)
    # Downwards the pneumonias come at ranks 1, 2, 4 and 5.
    assert measure(LABELS, SAID, 0.5).auprc == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 5) / 4)


def test_brier_by_hand():
    squares = [0.01, 0.04, 0.09, 0.49, 0.36, 0.16, 0.04, 0.01]
    assert measure(LABELS, SAID, 0.5).brier == pytest.approx(sum(squares) / 8)


@pytest.mark.parametrize(
    ("sensitivity", "expected"),
    [(0.5, 1.0), (0.75, 0.75), (0.76, 0.75), (1.0, 0.75)],
    ids=["two of four above every normal", "three: .7 is above", "a little more: all four", "all"],
)
def test_specificity_at_a_sensitivity_by_hand(sensitivity, expected):
    assert specificity_at(LABELS, SAID, sensitivity) == pytest.approx(expected)


def test_specificity_at_takes_the_best_threshold_not_the_first():
    labels, said = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])
    assert specificity_at(labels, said, 0.5) == 1.0
    assert specificity_at(labels, said, 0.97) == 0.5


def test_calibration_error_by_hand():
    # Fewer images than bins: each is a bin of its own.
    assert expected_calibration_error(np.array([0, 1]), np.array([0.3, 0.9])) == pytest.approx(0.2)


def test_calibration_error_does_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    said = rng.random(200)
    labels = (rng.random(200) < said**2).astype(int)
    order = rng.permutation(200)
    assert expected_calibration_error(labels[order], said[order]) == pytest.approx(
        expected_calibration_error(labels, said)
    )


def test_recall_by_subtype_leaves_out_what_there_is_not():
    kinds = ["normal", "bacteria", "bacteria", "bacteria"]
    assert recall_by_subtype(kinds, np.array([0.9, 0.9, 0.1, 0.8]), 0.5) == {"bacteria": 0.66667}


def test_figures_by_name_are_rounded():
    labels, said = np.array([0, 1, 1]), np.array([0.1, 0.9, 0.2])
    assert measure(labels, said, 0.5).to_dict()["accuracy"] == 0.66667
    assert set(measure(LABELS, SAID, 0.5).to_dict()) > {"specificity_at_97", "auprc", "mcc"}
