"""Intervals against textbook values, brute force, and the truth that they should cover."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluate.intervals import (
    bootstrap_auroc_difference,
    bootstrap_intervals,
    patient_weights,
    wilson,
)
from training.evaluate.metrics import Metrics, measure


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
    # the third: Newcombe, Statistics in Medicine 1998, table I
)
def test_wilson_gives_the_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_patients_are_drawn_whole():
    patients = np.array([7, 7, 3, 9, 9, 9])
    weights = np.concatenate(list(patient_weights(patients, 250, seed=1)))
    assert weights.shape == (250, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    drawn = weights[:, [0, 2, 3]].sum(axis=1)
    assert (drawn == 3).all(), "as many patients as there are"


def images(patients: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(patients) % 2, each)
    own = np.repeat(rng.normal(0, 1, patients), each)  # images of a patient resemble each other
    scores = 1 / (1 + np.exp(-(labels * 2 - 1 + own)))
    return labels, scores, np.repeat(np.arange(patients), each)


def test_images_of_one_patient_are_no_independent_witnesses():
    labels, scores, patients = images(60, 10, 0)
    clustered = bootstrap_intervals(labels, scores, patients, 0.5)["accuracy"]
    single = bootstrap_intervals(labels, scores, np.arange(600), 0.5)["accuracy"]
    assert np.ptp(clustered) > 2 * np.ptp(single)


def test_intervals_hold_the_figure_and_repeat():
    labels, scores, patients = images(100, 2, 1)
    first = bootstrap_intervals(labels, scores, patients, 0.5)
    assert first == bootstrap_intervals(labels, scores, patients, 0.5)
    low, high = first["auroc"]
    assert low < roc_auc_score(labels, scores) < high
    low, high = first["recall"]
    assert low < float((scores[labels == 1] >= 0.5).mean()) < high


def test_every_figure_but_the_calibration_error_has_an_interval_that_holds_it():
    labels, scores, patients = images(150, 2, 3)
    found, figures = (
        bootstrap_intervals(labels, scores, patients, 0.3),
        measure(labels, scores, 0.3),
    )
    assert set(found) == {field.name for field in fields(Metrics)} - {"images", "ece"}
    for name, (low, high) in found.items():
        assert low < getattr(figures, name) < high, name


def test_nothing_called_positive_has_intervals_without_nan():
    labels, scores, patients = images(30, 2, 4)
    found = bootstrap_intervals(labels, scores, patients, 1.0)
    assert found["precision"] == found["recall"] == found["mcc"] == (0.0, 0.0)


def test_the_difference_of_a_network_to_itself_is_nothing():
    labels, scores, patients = images(40, 2, 2)
    assert bootstrap_auroc_difference(labels, scores, scores, patients) == (0.0, 0.0)
    noise = np.random.default_rng(0).random(80)
    low, _ = bootstrap_auroc_difference(labels, scores, noise, patients)
    assert low > 0
