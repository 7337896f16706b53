"""From logits to probabilities that mean what they say, and the point at which they call a positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedGroupKFold

from worker.errors import Rejected

FLOOR = 0.975
"""Sensitivity that the operating point keeps in every held-out part."""
CALIBRATION_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Probability = sigmoid(logit / temperature + bias) (Platt 1999)."""

    temperature: float
    """Above 1 it makes the network less sure of itself."""
    bias: float
    """Puts the prior right: training saw equally many of both classes."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 (n,) in [0, 1] of logits (n,)."""
        return expit(logits.astype(np.float64) / self.temperature + self.bias)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on the calibrated probability and the rule that chose it."""

    threshold: float
    """In (0, 1)."""
    rule: str
    """What was compared, what decided, and why."""
    candidates: Mapping[str, Mapping[str, float]]
    """Rule -> its threshold and its figures, on plain and on stressed held-out predictions."""


def fit_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The temperature and bias with the greatest likelihood. Raises Rejected where ranking fails.

    Where the logits part the classes without an error, ever steeper curves are ever likelier; then
    Platt's targets, (n + 1) / (n + 2) for a class of n images, say where to end.
    """
    sick = labels == 1
    parted = logits[sick].min() > logits[~sick].max()
    doubt = np.where(sick, 1 / (sick.sum() + 2), 1 / ((~sick).sum() + 2)) * parted
    model = LogisticRegression(C=np.inf).fit(
        np.tile(logits.astype(np.float64), 2)[:, None],
        np.concatenate([labels, 1 - labels]),
        sample_weight=np.concatenate([1 - doubt, doubt]),
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

    What calibration figures are honest on: a calibration flatters itself where it was fitted.
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
    by_look: Mapping[str, np.ndarray],
) -> OperatingPoint:
    """Choose the threshold by a stated rule, and show what other rules would have done.

    `parts`, `probabilities` (n,): of the held-out images as they are. `by_look`: look ->
    probabilities (k,) of some of them with `stressed_labels` (k,). The rule: the highest threshold at which sensitivity is still
    .975 in each part, all together and under the looks on average. Published networks of this set
    keep their sensitivity on new patients and lose specificity (training on balanced batches of a
    set whose normals share one look makes the unfamiliar seem ill), so whatever sensitivity the
    floor leaves to spare buys specificity.
    """
    plain = probabilities
    floors = [_for_sensitivity(labels[parts == p], plain[parts == p], FLOOR) for p in set(parts)]
    floors.append(_for_sensitivity(labels, plain, FLOOR))
    rule = f"sensitivity at least {FLOOR:g} in each part"
    candidates = {
        rule: min(floors),
        f"and on average over {len(by_look)} looks": _for_mean_sensitivity(
            stressed_labels == 1, by_look, FLOOR
        ),
        "sensitivity at least .98": _for_sensitivity(labels, plain, 0.98),
        "Youden": _youden(labels, plain),
        "probability .5": 0.5,
    }
    figures = {
        name: {
            "threshold": float(t),
            "recall": round(_rates(labels, plain, t)[0], 5),
            "specificity": round(_rates(labels, plain, t)[1], 5),
            **_stressed(stressed_labels, by_look, t),
        }
        for name, t in candidates.items()
    }
    return OperatingPoint(
        threshold=figures[rule]["threshold"],
        rule=f"Rule: the highest threshold with {rule} ({', '.join(sorted(set(parts)))}). On new "
        "patients networks of this set keep their sensitivity and lose specificity, so what the "
        "floor leaves to spare buys specificity.",
        candidates=figures,
    )


def _for_sensitivity(labels: np.ndarray, probabilities: np.ndarray, wanted: float) -> float:
    """The highest threshold at which the recall is still at least `wanted`, less half a gap.

    On an image's own probability the last bit, which differs between machines, would decide it.
    """
    positives = np.sort(probabilities[labels == 1])
    missed = int(np.floor((1 - wanted) * len(positives) + 1e-9))
    last = positives[missed]
    below = probabilities[probabilities < last].max(initial=0.0)
    return float((last + below) / 2)


def _for_mean_sensitivity(
    sick: np.ndarray, by_look: Mapping[str, np.ndarray], wanted: float
) -> float:
    """The highest threshold at which the recall, averaged over the looks, is at least `wanted`."""
    everything = np.concatenate([p[sick] for p in by_look.values()])
    return _for_sensitivity(np.ones(len(everything)), everything, wanted)


def _youden(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Where sensitivity + specificity is greatest, in the middle of the gap it falls into."""
    false_rate, true_rate, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    below = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((min(thresholds[best], 1.0) + below) / 2)


def _stressed(
    labels: np.ndarray, by_look: Mapping[str, np.ndarray], threshold: float
) -> dict[str, float]:
    rates = [_rates(labels, p, threshold) for p in by_look.values()]
    recalls, specificities = zip(*rates, strict=True)
    return {
        "stressed_recall": round(float(np.mean(recalls)), 5),
        "stressed_specificity": round(float(np.mean(specificities)), 5),
        "stressed_balanced_accuracy": round(
            float((np.mean(recalls) + np.mean(specificities)) / 2), 5
        ),
    }


def _rates(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[float, float]:
    """(recall, specificity)."""
    positive = probabilities >= threshold
    return float(positive[labels == 1].mean()), float((~positive[labels == 0]).mean())
