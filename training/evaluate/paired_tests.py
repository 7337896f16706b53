"""Paired tests of two networks on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, rankdata


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Exact test of the predictions (McNemar 1947)."""

    only_first_right: int
    """Images on which the first network alone is correct."""
    only_second_right: int
    """Images on which the second alone is."""
    p: float
    """Of so uneven a division, or a more uneven one, if both were equally good."""


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """Test of two areas on the same images (DeLong, DeLong and Clarke-Pearson 1988)."""

    first: float
    """AUROC of the first."""
    second: float
    """AUROC of the second."""
    standard_error: float
    """Of their difference; 0 where both rank every image alike."""
    p: float
    """Two-sided."""


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Test bool (n,) each: whether that network's prediction of the image is correct."""
    first = int((first_right & ~second_right).sum())
    second = int((second_right & ~first_right).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return McNemar(only_first_right=first, only_second_right=second, p=float(p))


def delong(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Compare the areas of scores (n,) and (n,) on labels (n,), by midranks (Sun and Xu 2014)."""
    sick = labels == 1
    m, n = int(sick.sum()), int((~sick).sum())
    areas, by_sick, by_well = [], [], []
    for scores in (first, second):
        together = rankdata(scores)
        among_sick, among_well = rankdata(scores[sick]), rankdata(scores[~sick])
        by_sick.append((together[sick] - among_sick) / n)
        by_well.append(1 - (together[~sick] - among_well) / m)
        areas.append(float(by_sick[-1].mean()))
    covariance = np.cov(by_sick) / m + np.cov(by_well) / n
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(0.0, contrast @ covariance @ contrast)))
    difference = areas[0] - areas[1]
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else 1.0
    return DeLong(first=areas[0], second=areas[1], standard_error=error, p=p)
