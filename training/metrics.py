"""What a set of predictions is worth, in the figures that readers of radiology papers expect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
    roc_curve,
)

BINS = 15
"""Bins of equal mass for the calibration error."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Figures of one set of predictions at one threshold; PNEUMONIA is positive."""

    images: int
    """How many."""
    accuracy: float
    """Share of right verdicts."""
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
    """Matthews' correlation of verdict and label, in [-1, 1]; 0 where one verdict never occurs."""
    auroc: float
    """Area under the ROC curve: ranking, whatever the threshold."""
    auprc: float
    """Average precision: ranking of the pneumonias; depends on their share."""
    brier: float
    """Mean squared error of the probability."""
    ece: float
    """Expected calibration error over 15 bins of equal mass."""
    specificity_at_95: float
    """Specificity where the sensitivity is .95, wherever the threshold lies."""
    specificity_at_97: float
    """The same at .97."""
    specificity_at_99: float
    """The same at .99."""

    def to_dict(self) -> dict[str, float]:
        """The figures by name, rounded to what such sets can tell."""
        values = dataclasses.asdict(self)
        return {name: round(value, 5) for name, value in values.items()}


def measure(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> Metrics:
    """Figures of probabilities (n,) against labels (n,) of 0 and 1; both classes must occur."""
    positive = probabilities >= threshold
    (tn, fp), (fn, tp) = confusion_matrix(labels, positive, labels=[0, 1])
    recall, specificity = float(tp / (tp + fn)), float(tn / (tn + fp))
    return Metrics(
        images=len(labels),
        accuracy=float((tp + tn) / len(labels)),
        precision=float(tp / (tp + fp)) if tp + fp else 0.0,
        recall=recall,
        f1=float(f1_score(labels, positive, zero_division=0)),
        specificity=specificity,
        balanced_accuracy=(recall + specificity) / 2,
        mcc=float(matthews_corrcoef(labels, positive)),
        auroc=auroc(labels, probabilities),
        auprc=float(average_precision_score(labels, probabilities)),
        brier=float(brier_score_loss(labels, probabilities)),
        ece=expected_calibration_error(labels, probabilities),
        specificity_at_95=specificity_at(labels, probabilities, 0.95),
        specificity_at_97=specificity_at(labels, probabilities, 0.97),
        specificity_at_99=specificity_at(labels, probabilities, 0.99),
    )


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; labels (n,) of 0 and 1, scores (n,) of any scale."""
    return float(roc_auc_score(labels, scores))


def specificity_at(labels: np.ndarray, scores: np.ndarray, sensitivity: float) -> float:
    """The best specificity among the thresholds that reach this sensitivity."""
    false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(1 - false_rate[true_rate >= sensitivity - 1e-12].min())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between probability and frequency over bins of equal mass, weighted by mass."""
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    gaps = [abs(labels[b].mean() - probabilities[b].mean()) * len(b) for b in bins]
    return float(sum(gaps) / len(order))


def recall_by_subtype(
    subtypes: Sequence[str], probabilities: np.ndarray, threshold: float
) -> dict[str, float]:
    """Recall among bacterial and among viral pneumonias, where there are any."""
    kinds = np.array(subtypes)
    return {
        kind: round(float((probabilities[kinds == kind] >= threshold).mean()), 5)
        for kind in ("bacteria", "virus")
        if (kinds == kind).any()
    }
