"""The confounders by hand, and a baseline that finds exposure and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.data_set import LabelledPlanes
from training.evaluate.confounder_baseline import (
    CONFOUNDERS,
    border_strip,
    confounders,
    fit_confounder_baseline,
)


def numbers_of(plane: np.ndarray) -> dict[str, float]:
    return dict(zip(CONFOUNDERS, confounders(plane[None])[0], strict=True))


def test_there_are_fifteen():
    assert len(CONFOUNDERS) == len(set(CONFOUNDERS)) == 15


def test_a_flat_plane_has_its_grey_everywhere_and_no_structure():
    flat = numbers_of(np.full((40, 40), 90, np.uint8))
    for name in (
        "mean",
        "percentile 1",
        "percentile 50",
        "percentile 99",
        "border mean",
        "corners",
    ):
        assert flat[name] == 90, name
    for name in ("deviation", "black share", "sharpness", "gradient", "border deviation"):
        assert flat[name] == 0, name


def test_border_and_corners_are_where_they_are_said_to_be():
    plane = np.zeros((40, 40), np.uint8)
    plane[:4, :4] = 160  # one corner of four
    found = numbers_of(plane)
    assert found["corners"] == 40
    assert found["border mean"] == pytest.approx(160 * 16 / (40 * 40 - 32 * 32))
    assert found["black share"] == pytest.approx(1 - 16 / 1600)


def test_a_ramp_has_its_slope_and_no_sharpness():
    found = numbers_of(np.tile(np.arange(0, 80, 2, dtype=np.uint8), (40, 1)))
    assert found["gradient"] == pytest.approx((2 + 0) / 2)  # across, and down
    assert found["sharpness"] == 0
    assert found["percentile 50"] == pytest.approx(39)


def test_more_planes_than_are_computed_at_once_keep_their_order():
    planes = np.arange(150, dtype=np.uint8)[:, None, None] * np.ones((1, 10, 10), np.uint8)
    assert list(confounders(planes)[:, 0]) == list(range(150))


def test_the_strip_is_a_tenth_of_each_side():
    strip = border_strip(224)
    assert strip.mean() == pytest.approx(1 - 180**2 / 224**2)
    assert strip[21, 100]
    assert not strip[22, 100]


def planes_of(labels: np.ndarray, step: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 100, (len(labels), 32, 32))
    return (noise + step * labels[:, None, None]).astype(np.uint8)


def test_exposure_that_goes_with_the_label_is_found():
    labels = np.arange(60) % 2
    planes = planes_of(labels, 20)
    train = LabelledPlanes(planes=planes[:40], labels=labels[:40])
    found = fit_confounder_baseline(train, planes[40:], labels[40:], np.arange(20))
    assert found.fitted_on == 40
    assert (found.auroc, found.accuracy, found.specificity_at_97) == (1, 1, 1)


def test_noise_is_no_evidence():
    labels = np.arange(400) % 2
    planes = planes_of(labels, 0)
    train = LabelledPlanes(planes=planes[:200], labels=labels[:200])
    found = fit_confounder_baseline(train, planes[200:], labels[200:], np.arange(200))
    assert found.interval[0] < 0.5 < found.interval[1]
