"""The overlay: only where there is heat, strongest where it is hottest, anatomy still below it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders.results import drawn_picture
from worker.results.heat_map import MAX_OPACITY, with_heat

AMBER = (255, 178, 64)
GREY = np.full((200, 300), 0.5, dtype=np.float32)


def heat_at(x: float, y: float, width: float = 0.12) -> np.ndarray:
    rows, columns = np.mgrid[0:1:224j, 0:1:224j]
    peak = np.exp(-(((columns - x) / width) ** 2) - ((rows - y) / width) ** 2)
    return (peak / peak.max()).astype(np.float32)


def saturation(rgb: np.ndarray) -> np.ndarray:
    return rgb.max(axis=2) - rgb.min(axis=2)


def test_without_heat_it_is_the_radiograph():
    picture = drawn_picture(hot=False)
    rgb = with_heat(picture.pixels, picture.heat, AMBER)
    assert np.array_equal(rgb, np.repeat(picture.pixels[:, :, None], 3, axis=2))


@pytest.mark.parametrize(("x", "y"), [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.5, 0.5)])
def test_the_colour_lies_where_the_heat_lies(x, y):
    coloured = saturation(with_heat(GREY, heat_at(x, y), AMBER)) > 0.15
    rows, columns = np.nonzero(coloured)
    assert columns.mean() / 300 == pytest.approx(x, abs=0.03)
    assert rows.mean() / 200 == pytest.approx(y, abs=0.03)


def test_far_from_the_heat_nothing_changes():
    rgb = with_heat(GREY, heat_at(0.25, 0.25), AMBER)
    assert np.allclose(rgb[150:, 200:], 0.5, atol=1e-3)


def test_the_anatomy_stays_visible_at_the_hottest_place():
    stripes = GREY.copy()
    stripes[:, ::2] = 0.9
    heat = np.ones((224, 224), dtype=np.float32)
    rgb = with_heat(stripes, heat, AMBER)
    kept = np.abs(np.diff(rgb[100, 100:120], axis=0)).min()
    assert kept == pytest.approx((0.9 - 0.5) * (1 - MAX_OPACITY), abs=0.01)


def test_a_contour_runs_around_it():
    rgb = with_heat(GREY, heat_at(0.5, 0.5, 0.3), AMBER)
    line = np.abs(rgb - np.asarray(AMBER) / 255).max(axis=2) < 0.08
    rows, columns = np.nonzero(line)
    assert (rows.min() < 80, rows.max() > 120) == (True, True)
    assert (columns.min() < 120, columns.max() > 180) == (True, True)
    assert not line[95:105, 145:155].any()


def test_it_stays_within_range():
    picture = drawn_picture()
    rgb = with_heat(picture.pixels, picture.heat, AMBER)
    assert rgb.shape == (*picture.pixels.shape, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_the_last_digits_of_a_map_decide_about_no_pixel():
    """Another processor adds up in another order; the object's UID stays the same."""
    heat = heat_at(0.4, 0.6, 0.3)
    noise = np.random.default_rng(1).uniform(-1e-6, 1e-6, heat.shape).astype(np.float32)
    one, other = (with_heat(GREY, h, AMBER) for h in (heat, heat + noise))
    assert np.array_equal(one, other)
