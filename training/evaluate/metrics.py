"""The metrics that readers of radiology papers expect, of one set or of many resamples at once.

A weight is the number of times that an image was drawn. Each function of weights returns what the
metric would be on the set in which every image occurs that often; NaN where a class was not drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
"""Bins of equal mass for the calibration error."""
PLACES = 5
"""Decimal places in JSON: sets of this size support no more."""
SENSITIVITIES = {"specificity_at_95": 0.95, "specificity_at_97": 0.97, "specificity_at_99": 0.99}


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics of one set of predictions at one threshold; PNEUMONIA is positive."""

    images: int
    """How many."""
    accuracy: float
    """Share of correct predictions."""
    precision: float
    """Share of pneumonias among the positives; 0 where nothing is positive."""
    recall: float
    """Sensitivity: share of the pneumonias that are positive."""
    f1: float
    """Harmonic mean of precision and recall."""
    specificity: float
    """Share of the normals that are negative."""
    balanced_accuracy: float
    """Mean of recall and specificity: the same whatever the share of pneumonias."""
    mcc: float
    """Matthews' correlation of prediction and label, in [-1, 1]; 0 where all predictions are alike."""
    auroc: float
    """Area under the ROC curve: ranking, whatever the threshold."""
    auprc: float
    """Average precision: ranking of the pneumonias; depends on their share."""
    brier: float
    """Mean squared error of the probability."""
    ece: float
    """Expected calibration error over 15 bins of equal mass."""
    specificity_at_95: float
    """The best specificity among the thresholds with a sensitivity of at least .95."""
    specificity_at_97: float
    """The same at .97."""
    specificity_at_99: float
    """The same at .99."""

    def to_dict(self) -> dict[str, float]:
        """The metrics by name, rounded."""
        values: dict[str, float] = rounded(dataclasses.asdict(self))
        return values


def measure(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> Metrics:
    """Metrics of probabilities (n,) against labels (n,) of 0 and 1; both classes must occur."""
    once = np.ones((1, len(labels)), dtype=np.int64)
    values = threshold_metrics(labels, probabilities, threshold, once)
    values |= ranking_metrics(labels, probabilities, once)
    return Metrics(
        images=len(labels),
        ece=expected_calibration_error(labels, probabilities),
        **{name: float(value) for name, (value,) in values.items()},
    )


def threshold_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Those that depend on the threshold, float64 (b,) each, under weights int64 (b, n)."""
    positive, sick = probabilities >= threshold, labels == 1
    tp, fp = weights @ (positive & sick), weights @ (positive & ~sick)
    fn, tn = weights @ (~positive & sick), weights @ (~positive & ~sick)
    margins = ((tp + fp) * (tn + fn)).astype(np.float64) * (tp + fn) * (tn + fp)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "accuracy": (tp + tn) / weights.sum(axis=1),
            "precision": np.where(tp + fp > 0, tp / (tp + fp), 0.0),
            "recall": recall,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "specificity": specificity,
            "balanced_accuracy": (recall + specificity) / 2,
            "mcc": np.where(margins > 0, (tp * tn - fp * fn) / np.sqrt(margins), 0.0),
        }


def ranking_metrics(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Those that do not depend on a threshold, float64 (b,) each, under weights int64 (b, n).

    All but the calibration error: drawing images again adds scatter to every bin, so that the
    error of a resample is greater than that of the set, and an interval of it would mislead.
    """
    recall, false_rate, precision = _curves(labels, probabilities, weights)
    squares = weights @ (probabilities - labels) ** 2
    return {
        "auroc": _area(recall, false_rate),
        "auprc": (np.diff(recall, axis=1, prepend=0) * precision).sum(axis=1),
        "brier": squares / weights.sum(axis=1),
        **{
            name: 1 - np.fmin.reduce(np.where(recall >= wanted - 1e-12, false_rate, np.nan), axis=1)
            for name, wanted in SENSITIVITIES.items()
        },
    }


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; labels (n,) of 0 and 1, scores (n,) of any scale."""
    return float(weighted_auroc(labels, scores, np.ones((1, len(labels)), dtype=np.int64))[0])


def weighted_auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC float64 (b,) of scores (n,) under weights int64 (b, n); ties count half."""
    recall, false_rate, _ = _curves(labels, scores, weights)
    return _area(recall, false_rate)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between probability and frequency over bins of equal mass, weighted by mass."""
    gaps = [
        abs(labels[b].mean() - probabilities[b].mean()) * len(b)
        for b in equal_mass_bins(probabilities)
    ]
    return float(sum(gaps) / len(labels))


def equal_mass_bins(probabilities: np.ndarray) -> list[np.ndarray]:
    """Row numbers of at most BINS bins with equally many images each, the lowest probability first."""
    order = np.argsort(probabilities, kind="stable")
    return np.array_split(order, min(BINS, len(order)))


def rounded(value: Any) -> Any:
    """Floats to PLACES, in lists and mappings too; tuples become lists, as JSON has them."""
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [rounded(each) for each in value]
    return value


def _area(recall: np.ndarray, false_rate: np.ndarray) -> np.ndarray:
    """Under the curve, by trapezoids."""
    middles = recall - np.diff(recall, axis=1, prepend=0) / 2
    area: np.ndarray = (np.diff(false_rate, axis=1, prepend=0) * middles).sum(axis=1)
    return area


def _curves(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall, false positive rate and precision, float64 (b, k), at the k different scores, descending.

    Precision is 1 above the first image drawn, where it adds nothing to an area.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) < 0, True])  # of each run of equal scores
    drawn, sick = weights[:, order], labels[order] == 1
    tp = np.cumsum(drawn * sick, axis=1)[:, last]
    fp = np.cumsum(drawn * ~sick, axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(tp + fp > 0, tp / (tp + fp), 1.0)
        return tp / tp[:, -1:], fp / fp[:, -1:], precision
