"""The soak test's judgement: a leak is found under noise and peaks, and noise alone is no leak."""

from __future__ import annotations

import random

import pytest

from tests.soak.slopes import Tolerance, judge

SECONDS = [10.0 * n for n in range(180)]
TOLERANCE = Tolerance(absolute=20, relative=0.03)


def judged(value_at, seed: int = 0):
    draw = random.Random(seed)
    return judge("memory", SECONDS, [value_at(s, draw) for s in SECONDS], TOLERANCE)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_is_found_under_noise(seed):
    found = judged(lambda s, draw: 500 + 60 * s / 1800 + draw.gauss(0, 15), seed)
    assert found.grows
    assert found.grown == pytest.approx(40, abs=15)


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_peaks_are_no_leak(seed):
    def value(_s, draw):
        return 500 + draw.gauss(0, 15) + (800 if draw.random() < 0.2 else 0)

    assert not judged(value, seed).grows


def test_what_a_start_takes_is_no_leak():
    assert not judged(lambda s, _: min(500, 100 + s)).grows


def test_what_comes_down_again_is_no_leak():
    assert not judged(lambda s, _: 500 + (300 if s % 600 < 300 else 0)).grows
    assert not judged(lambda s, _: 900 - s / 10).grows


def test_the_larger_tolerance_holds():
    def grown_by(share):
        return judged(lambda s, _: 10_000 * (1 + share * s / 1200))

    assert not grown_by(0.02).grows
    assert grown_by(0.05).grows


def test_a_single_handle_for_each_study_is_found():
    values = [40 + n // 4 for n in range(180)]
    assert judge("handles", SECONDS, values, Tolerance(absolute=5, relative=0.1)).grows


def test_too_few_samples_are_said_so():
    with pytest.raises(
        ValueError, match="memory: 7 samples after the warm-up; expected at least 10"
    ):
        judge("memory", SECONDS[:10], [1.0] * 10, TOLERANCE)
