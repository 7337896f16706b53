"""Paired tests against their own definitions and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from training.evaluate.paired_tests import delong, mcnemar


def test_mcnemar_by_hand():
    first = np.array([True] * 10 + [False] * 2 + [True] * 30)
    second = np.array([False] * 10 + [True] * 2 + [True] * 30)
    found = mcnemar(first, second)
    assert (found.only_first_right, found.only_second_right) == (10, 2)
    assert found.p == pytest.approx(2 * (1 + 12 + 66) / 4096)  # binomial tail of 2 in 12


def test_equal_verdicts_show_nothing():
    right = np.array([True, False, True])
    assert mcnemar(right, right).p == 1.0


def components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 and V01 as DeLong et al. 1988 define them (equations 4 and 5), pair by pair."""
    sick, well = scores[labels == 1], scores[labels == 0]
    kernel = (sick[:, None] > well[None]) + 0.5 * (sick[:, None] == well[None])
    return kernel.mean(axis=1), kernel.mean(axis=0)


def published(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Standard error and p of the difference by the published formulas (equations 6 to 9)."""
    (a10, a01), (b10, b01) = components(labels, first), components(labels, second)
    m, n = len(a10), len(a01)

    def s(x: np.ndarray, y: np.ndarray) -> float:
        return float(((x - x.mean()) * (y - y.mean())).sum() / (len(x) - 1))

    variance = (s(a10, a10) + s(b10, b10) - 2 * s(a10, b10)) / m
    variance += (s(a01, a01) + s(b01, b01) - 2 * s(a01, b01)) / n
    error = variance**0.5
    return error, float(2 * norm.sf(abs(a10.mean() - b10.mean()) / error))


@pytest.mark.parametrize("seed", range(4))
def test_delong_by_midranks_is_delong_by_its_definition(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(23, int), np.zeros(31, int)]
    first = (labels + rng.normal(0, 1, 54)).round(1)  # rounded: with ties
    second = (labels * 0.5 + 0.5 * first + rng.normal(0, 1, 54)).round(1)
    found = delong(labels, first, second)
    error, p = published(labels, first, second)
    assert found.first == pytest.approx(roc_auc_score(labels, first))
    assert found.second == pytest.approx(roc_auc_score(labels, second))
    assert found.standard_error == pytest.approx(error)
    assert found.p == pytest.approx(p)


def test_a_network_against_itself_is_no_difference():
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.4, 0.3, 0.8, 0.9])
    assert delong(labels, scores, scores).p == 1.0


def test_under_equal_quality_p_is_small_as_seldom_as_it_says():
    rng = np.random.default_rng(9)
    labels = np.r_[np.ones(40, int), np.zeros(40, int)]
    small = 0
    for _ in range(400):
        first, second = (labels + rng.normal(0, 1, 80) for _ in range(2))
        small += delong(labels, first, second).p < 0.05
    assert 8 <= small <= 36  # 20 expected


OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1   3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1   3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0   4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1   2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1   2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""
"""The worked example of DeLong, DeLong and Clarke-Pearson (1988): albumin, total protein, 10 less
the K-G score, and the outcome of 43 patients with all three."""


@pytest.mark.parametrize(
    ("column", "area", "z", "p"),
    [
        (0, 0.7365591397849462, 0.11277826904452642, 0.9102063472010351),
        (1, 0.6478494623655915, -0.7452183896579927, 0.45613970750747357),
    ],
    ids=["albumin", "total protein"],
)
def test_delong_on_the_papers_own_patients_is_a_published_implementations(column, area, z, p):
    """Against the K-G score. The values are those of MLstatkit 0.1.91 (PyPI), without its sign of z."""
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    found = delong(table[:, 3].astype(int), table[:, column], 10 - table[:, 2])
    assert (found.first, found.second) == pytest.approx((area, 0.7258064516129032))
    assert (found.first - found.second) / found.standard_error == pytest.approx(z)
    assert found.p == pytest.approx(p)
