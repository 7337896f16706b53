"""The figures of training/metrics.py under many weightings at once, as a bootstrap needs them.

A weight says how often an image was drawn. Each function gives what `measure` would give of the set
in which every image stands that often; NaN where a class was not drawn at all.
"""

from __future__ import annotations

import numpy as np

SENSITIVITIES = {"specificity_at_95": 0.95, "specificity_at_97": 0.97, "specificity_at_99": 0.99}


def verdict_figures(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Those that depend on the threshold, float64 (b,) each, under weights (b, n)."""
    called, sick = probabilities >= threshold, labels == 1
    tp, fp = weights @ (called & sick), weights @ (called & ~sick)
    fn, tn = weights @ (~called & sick), weights @ (~called & ~sick)
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


def score_figures(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Those that hold for every threshold, float64 (b,) each, under weights (b, n).

    All but the calibration error: drawing images again adds scatter to every bin, so that the
    error of a resample is greater than that of the set, and an interval of it would mislead.
    """
    recall, false_rate, precision = _rates(labels, probabilities, weights)
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


def weighted_auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC float64 (b,) of scores (n,) under weights (b, n); ties count half."""
    recall, false_rate, _ = _rates(labels, scores, weights)
    return _area(recall, false_rate)


def _area(recall: np.ndarray, false_rate: np.ndarray) -> np.ndarray:
    """Under the curve, by trapezoids."""
    middles = recall - np.diff(recall, axis=1, prepend=0) / 2
    area: np.ndarray = (np.diff(false_rate, axis=1, prepend=0) * middles).sum(axis=1)
    return area


def _rates(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall, false positive rate and precision, float64 (b, k), at the k different scores downwards.

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
