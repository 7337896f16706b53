"""Calibration and operating points against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from training.release.calibration import (
    Calibration,
    choose_operating_point,
    cross_fitted,
    fit_calibration,
)
from worker.errors import Rejected


@pytest.mark.parametrize(("temperature", "bias"), [(0.5, 0.0), (1.0, 1.2), (3.0, -0.7)])
def test_the_calibration_that_was_taken_out_is_found(temperature, bias):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < expit(true)).astype(int)
    found = fit_calibration((true - bias) * temperature, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.bias == pytest.approx(bias, abs=0.06)


def test_a_network_trained_on_equal_classes_gets_the_prior_back():
    rng = np.random.default_rng(1)
    labels = (rng.random(20_000) < 0.75).astype(int)
    fair = rng.normal(np.where(labels == 1, 1.0, -1.0), 1) * 2  # log likelihood ratio
    assert fit_calibration(fair, labels).bias == pytest.approx(np.log(3), abs=0.1)


def test_classes_without_overlap_get_platts_targets():
    logits, labels = np.array([-1.0, -1.0, 1.0, 1.0, 1.0]), np.array([0, 0, 1, 1, 1])
    found = fit_calibration(logits, labels).probabilities(np.array([-1.0, 1.0]))
    assert found == pytest.approx([1 / 4, 4 / 5], abs=1e-3)


def test_probabilities_by_hand():
    found = Calibration(temperature=2.0, bias=0.5).probabilities(np.array([-3.0, 0.0, 3.0]))
    assert found == pytest.approx(expit(np.array([-1.0, 0.5, 2.0])))


def test_a_network_that_ranks_the_wrong_way_round_cannot_be_calibrated():
    labels = np.repeat([0, 1], 50)
    with pytest.raises(Rejected, match="higher logits do not mean more pneumonias"):
        fit_calibration(-labels + np.random.default_rng(0).normal(0, 1, 100), labels)


def test_a_patient_is_calibrated_by_others():
    rng = np.random.default_rng(2)
    labels, patients = np.arange(400) % 2, np.arange(400) // 4
    logits = rng.normal(labels * 2 - 1, 1)
    unseen, fitted = cross_fitted(logits, labels, patients), fit_calibration(logits, labels)
    assert np.abs(unseen - fitted.probabilities(logits)).max() < 0.15
    assert len(np.unique((logit(unseen) / logits).round(6))) > 1, "more than one calibration"


def choose(labels, parts, plain, looks=None):
    looks = looks or {"plain": plain}
    return choose_operating_point(
        labels, parts, plain, stressed_labels=labels, stressed_probabilities=looks
    )


LABELS = np.repeat([0, 1], 200)
PARTS = np.tile(["validation", "block"], 200)
PLAIN = expit(np.where(LABELS == 1, 4, -4) + np.random.default_rng(3).normal(0, 2.2, 400))


def recall(part: str, threshold: float) -> float:
    sick = (LABELS == 1) & (part == PARTS)
    return float((PLAIN[sick] >= threshold).mean())


def test_the_threshold_is_the_highest_that_keeps_the_floor_in_each_part():
    threshold = choose(LABELS, PARTS, PLAIN).threshold
    assert min(recall("validation", threshold), recall("block", threshold)) >= 0.975
    higher = PLAIN[(LABELS == 1) & (threshold < PLAIN)].min() + 1e-9
    everything = float((PLAIN[LABELS == 1] >= higher).mean())
    assert min(recall("validation", higher), recall("block", higher), everything) < 0.975


def test_other_rules_are_shown_beside_it_with_what_stress_would_do():
    darker = expit(logit(PLAIN) - 1.5)
    point = choose(LABELS, PARTS, PLAIN, {"plain": PLAIN, "darker": darker})
    chosen = point.candidates["sensitivity at least 0.975 in each part"]
    careful = point.candidates["and on average over 2 looks"]
    assert chosen["threshold"] == point.threshold
    assert careful["threshold"] < chosen["threshold"], "the darker look needs a lower one"
    assert careful["stressed_recall"] >= 0.975 > chosen["stressed_recall"]
    assert point.candidates["probability .5"]["threshold"] == 0.5
    assert "block, validation" in point.rule


def test_no_image_lies_on_the_threshold_where_its_last_bit_would_decide():
    candidates = choose(LABELS, PARTS, PLAIN).candidates
    for rule, values in candidates.items():
        assert np.abs(PLAIN - values["threshold"]).min() > 1e-5, rule
    asked = candidates["sensitivity at least .98"]
    assert asked["recall"] == pytest.approx(0.98)  # 4 of 200 missed, none to spare
    assert np.sum(PLAIN[LABELS == 1] < asked["threshold"]) == 4
