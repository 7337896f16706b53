"""Intervals of metrics: how far they would move with other patients, by a bootstrap of patients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from training.evaluate.metrics import (
    PLACES,
    ranking_metrics,
    threshold_metrics,
    weighted_auroc,
)

RESAMPLES = 2000
CONFIDENCE = 0.95
TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
"""Percentiles at which an interval ends."""
_AT_ONCE = 100
"""Resamples computed together: bounds the memory."""


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / trials + spread / trials / 4) / (1 + spread)
    return max(0.0, middle - float(half)), min(1.0, middle + float(half))


def patient_weights(
    patients: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """How often each image is drawn when whole patients are drawn with replacement.

    Yields int64 (some, n), `resamples` rows together. The images of a patient resemble
    one another, so images drawn singly would make the intervals too narrow.
    """
    rng = np.random.default_rng(seed)
    groups = np.unique(patients, return_inverse=True)[1]
    count = int(groups.max()) + 1
    for start in range(0, resamples, _AT_ONCE):
        some = min(_AT_ONCE, resamples - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=some)
        yield drawn[:, groups]


def bootstrap_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray,
    threshold: float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals by name as in Metrics: of every metric but the calibration error."""
    drawn = [
        threshold_metrics(labels, probabilities, threshold, weights)
        | ranking_metrics(labels, probabilities, weights)
        for weights in patient_weights(patients, resamples, seed)
    ]
    result = {}
    for name in drawn[0]:
        low, high = np.nanpercentile(np.concatenate([part[name] for part in drawn]), TAILS)
        result[name] = (round(float(low), PLACES), round(float(high), PLACES))
    return result


def bootstrap_auroc_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of AUROC(first) - AUROC(second) on the same resampled patients."""
    differences = np.concatenate(
        [
            weighted_auroc(labels, first, weights) - weighted_auroc(labels, second, weights)
            for weights in patient_weights(patients, resamples, seed)
        ]
    )
    low, high = np.nanpercentile(differences, TAILS)
    return float(low), float(high)
