"""Calibrate logits to probabilities, and choose the operating point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedGroupKFold

from training.evaluate.metrics import measure, rounded
from training.evaluate.predictions import calibrated
from worker.errors import Rejected

FLOOR = 0.975
"""Sensitivity that the operating point keeps in every held-out part."""
CALIBRATION_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Probability = sigmoid(logit / temperature + bias) (Platt 1999)."""

    temperature: float
    """Above 1 it makes the network less confident."""
    bias: float
    """Corrects the prior: training saw equally many of both classes."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 (n,) in [0, 1] of logits (n,)."""
        return calibrated(logits, self.temperature, self.bias)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on the calibrated probability and the rule that chose it."""

    threshold: float
    """In (0, 1)."""
    rule: str
    """The rule in words, with its reason."""
    candidates: Mapping[str, Mapping[str, float]]
    """Rule -> its threshold and its figures, on plain and on stressed held-out predictions."""


def fit_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The temperature and bias with the greatest likelihood. Raises Rejected where ranking fails.

    Where the logits separate the classes without an error, ever steeper curves are ever likelier;
    then Platt's targets, (n + 1) / (n + 2) for a class of n images, bound the slope.
    """
    sick = labels == 1
    separated = logits[sick].min() > logits[~sick].max()
    smoothing = np.where(sick, 1 / (sick.sum() + 2), 1 / ((~sick).sum() + 2)) * separated
    model = LogisticRegression(C=np.inf).fit(
        np.tile(logits.astype(np.float64), 2)[:, None],
        np.concatenate([labels, 1 - labels]),
        sample_weight=np.concatenate([1 - smoothing, smoothing]),
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if not slope > 0:
        raise Rejected(
            "NOT_BETTER_THAN_CHANCE",
            "On the held-out images higher logits do not mean more pneumonias, so no calibration "
            "exists. Train longer, or on more images.",
        )
    return Calibration(temperature=1 / slope, bias=intercept)


def cross_fitted(logits: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Probabilities float64 (n,), each by a calibration that did not see that patient.

    A calibration error is too small on the images that the calibration was fitted on.
    """
    folds = StratifiedGroupKFold(CALIBRATION_FOLDS, shuffle=True, random_state=0)
    result = np.empty(len(logits))
    for others, own in folds.split(logits, labels, patients):
        result[own] = fit_calibration(logits[others], labels[others]).probabilities(logits[own])
    return result


def choose_operating_point(
    labels: np.ndarray,
    parts: np.ndarray,
    probabilities: np.ndarray,
    *,
    stressed_labels: np.ndarray,
    stressed_probabilities: Mapping[str, np.ndarray],
) -> OperatingPoint:
    """Choose the threshold by a stated rule, and show what other rules would have done.

    `parts`, `probabilities` (n,): of the held-out images, unchanged. `stressed_probabilities`:
    perturbation -> probabilities (k,) of some of them with `stressed_labels` (k,). The rule: the
    highest threshold at which sensitivity is still .975 in each part and in all together. Published
    networks of this set keep their sensitivity on new patients and lose specificity (training on
    balanced batches of a set whose normals look alike makes the unfamiliar seem ill), so whatever
    sensitivity the floor leaves to spare buys specificity.
    """
    floors = [
        _threshold_for(labels[parts == part], probabilities[parts == part], FLOOR)
        for part in set(parts)
    ]
    floors.append(_threshold_for(labels, probabilities, FLOOR))
    rule = f"sensitivity at least {FLOOR:g} in each part"
    sick = stressed_labels == 1
    stressed_positives = np.concatenate([p[sick] for p in stressed_probabilities.values()])
    candidates = {
        rule: min(floors),
        f"and on average over {len(stressed_probabilities)} looks": _threshold_for(
            np.ones(len(stressed_positives)), stressed_positives, FLOOR
        ),
        "sensitivity at least .98": _threshold_for(labels, probabilities, 0.98),
        "Youden": _youden(labels, probabilities),
        "probability .5": 0.5,
    }
    figures = {
        name: _candidate_figures(
            threshold, labels, probabilities, stressed_labels, stressed_probabilities
        )
        for name, threshold in candidates.items()
    }
    return OperatingPoint(
        threshold=figures[rule]["threshold"],
        rule=f"Rule: the highest threshold with {rule} ({', '.join(sorted(set(parts)))}). On new "
        "patients networks of this set keep their sensitivity and lose specificity, so what the "
        "floor leaves to spare buys specificity.",
        candidates=figures,
    )


def _threshold_for(labels: np.ndarray, probabilities: np.ndarray, wanted: float) -> float:
    """The highest threshold at which the recall is still at least `wanted`, less half a gap.

    On an image's own probability the last bit, which differs between machines, would decide it.
    """
    positives = np.sort(probabilities[labels == 1])
    missed = int(np.floor((1 - wanted) * len(positives) + 1e-9))
    last = positives[missed]
    below = probabilities[probabilities < last].max(initial=0.0)
    return float((last + below) / 2)


def _youden(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Where sensitivity + specificity is greatest, in the middle of the gap it falls into."""
    false_rate, true_rate, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    below = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((min(thresholds[best], 1.0) + below) / 2)


def _candidate_figures(
    threshold: float,
    labels: np.ndarray,
    probabilities: np.ndarray,
    stressed_labels: np.ndarray,
    stressed_probabilities: Mapping[str, np.ndarray],
) -> dict[str, float]:
    plain = measure(labels, probabilities, threshold)
    stressed = [measure(stressed_labels, p, threshold) for p in stressed_probabilities.values()]
    figures: dict[str, float] = rounded(
        {
            "recall": plain.recall,
            "specificity": plain.specificity,
            "stressed_recall": float(np.mean([each.recall for each in stressed])),
            "stressed_specificity": float(np.mean([each.specificity for each in stressed])),
            "stressed_balanced_accuracy": float(
                np.mean([each.balanced_accuracy for each in stressed])
            ),
        }
    )
    return {"threshold": float(threshold), **figures}
