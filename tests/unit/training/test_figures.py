"""Metrics, calibration and operating points against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from training.calibration import calibrate, choose_operating_point, fit_temperature
from training.metrics import expected_calibration_error, measure, recall_by_subtype

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.6, 0.7, 0.8, 0.85, 0.95])


def test_figures_at_a_threshold():
    figures = measure(LABELS, SCORES, 0.5)  # tp 5, fn 1, fp 1, tn 3
    assert figures.accuracy == pytest.approx(0.8)
    assert figures.precision == pytest.approx(5 / 6)
    assert figures.recall == pytest.approx(5 / 6)
    assert figures.f1 == pytest.approx(5 / 6)
    assert figures.specificity == pytest.approx(0.75)
    assert figures.auroc == pytest.approx(19 / 24)  # pairs in the right order
    assert figures.brier == pytest.approx(float(np.mean((SCORES - LABELS) ** 2)))


def test_nothing_positive_has_no_precision_and_no_division_by_zero():
    figures = measure(LABELS, SCORES, 1.1)
    assert (figures.precision, figures.recall, figures.specificity) == (0.0, 0.0, 1.0)


def test_calibration_error_is_the_gap_between_probability_and_frequency():
    assert expected_calibration_error(np.array([0, 1]), np.array([0.0, 1.0])) == 0
    assert expected_calibration_error(np.zeros(30), np.full(30, 0.2)) == pytest.approx(0.2)


def test_recall_is_told_by_cause():
    kinds = ["normal", "bacteria", "bacteria", "virus"]
    found = recall_by_subtype(kinds, np.array([0.9, 0.9, 0.1, 0.9]), 0.5)
    assert found == {"bacteria": 0.5, "virus": 1.0}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < expit(true)).astype(int)
    assert fit_temperature(true * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_keeps_the_order():
    probabilities = calibrate(np.array([-3.0, 0.0, 3.0]), 2.0)
    assert probabilities == pytest.approx(expit(np.array([-1.5, 0, 1.5])))


def test_the_operating_point_is_the_rule_that_holds_best_under_stress():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 500)
    plain = expit(np.where(labels == 1, 4, -4) + rng.normal(0, 1.5, 1000))
    shifted = expit(logit(plain) + 1.5)  # another look: everything seems sicker
    point = choose_operating_point(labels, {"plain": plain, "shifted": shifted})
    best = max(c["stressed_balanced_accuracy"] for c in point.candidates.values())
    (chosen,) = [c for c in point.candidates.values() if c["threshold"] == point.threshold]
    assert chosen["stressed_balanced_accuracy"] == best
    assert "plain, shifted" in point.rule
    assert point.candidates["sensitivity at least .98"]["recall"] >= 0.98


def test_no_image_lies_on_the_threshold_where_its_last_bit_would_decide():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 200)
    plain = expit(np.where(labels == 1, 2, -2) + rng.normal(0, 1.5, 400))
    point = choose_operating_point(labels, {"plain": plain})
    for rule in ("sensitivity at least .98", "Youden"):
        threshold = point.candidates[rule]["threshold"]
        assert np.abs(plain - threshold).min() > 1e-5, rule
    asked = point.candidates["sensitivity at least .98"]
    assert asked["recall"] == pytest.approx(0.98)  # 4 of 200 missed, none to spare
    assert np.sum(plain[labels == 1] < asked["threshold"]) == 4
