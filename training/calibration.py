"""From logits to probabilities that mean what they say, and the point at which they call a positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit
from sklearn.metrics import roc_curve


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on the calibrated probability and the rule that chose it."""

    threshold: float
    """In (0, 1)."""
    rule: str
    """One sentence: what was compared, what decided."""
    candidates: Mapping[str, Mapping[str, float]]
    """Rule -> its threshold and its figures, on plain and on stressed validation predictions."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the least negative log likelihood (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(-np.mean(np.where(labels == 1, log_expit(scaled), log_expit(-scaled))))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def calibrate(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities float64 (n,) of logits (n,)."""
    return expit(logits.astype(np.float64) / temperature)


def choose_operating_point(
    labels: np.ndarray, by_stress: Mapping[str, np.ndarray]
) -> OperatingPoint:
    """Compare the candidate rules on validation predictions, plain and stressed, and choose one.

    `by_stress`: stress -> calibrated probabilities (n,); its first entry is the plain one. The
    known weakness of this set is specificity under shift: a low threshold looks free on images like
    those of training and calls normals of another look pneumonia. So among the candidates the one
    with the best balanced accuracy over all stresses together is taken.
    """
    plain = next(iter(by_stress.values()))
    candidates = {
        "sensitivity at least .98": _for_sensitivity(labels, plain, 0.98),
        "Youden": _youden(labels, plain),
        "probability .5": 0.5,
    }
    figures = {
        rule: {"threshold": float(t), **_figures(labels, by_stress, t)}
        for rule, t in candidates.items()
    }
    best = max(figures, key=lambda rule: figures[rule]["stressed_balanced_accuracy"])
    return OperatingPoint(
        threshold=figures[best]["threshold"],
        rule=f"Rule: {best}. Of the candidates ({'; '.join(candidates)}) it has the best balanced accuracy "
        f"({figures[best]['stressed_balanced_accuracy']:.4f}) over the validation images under "
        f"{len(by_stress)} looks ({', '.join(by_stress)}).",
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


def _youden(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Where sensitivity + specificity is greatest, in the middle of the gap it falls into."""
    false_rate, true_rate, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    below = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((min(thresholds[best], 1.0) + below) / 2)


def _figures(
    labels: np.ndarray, by_stress: Mapping[str, np.ndarray], threshold: float
) -> dict[str, float]:
    rates = {name: _rates(labels, p, threshold) for name, p in by_stress.items()}
    plain = next(iter(rates.values()))
    return {
        "recall": round(plain[0], 5),
        "specificity": round(plain[1], 5),
        "stressed_recall": round(float(np.mean([r for r, _ in rates.values()])), 5),
        "stressed_specificity": round(float(np.mean([s for _, s in rates.values()])), 5),
        "stressed_balanced_accuracy": round(
            float(np.mean([(r + s) / 2 for r, s in rates.values()])), 5
        ),
    }


def _rates(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[float, float]:
    """(recall, specificity)."""
    positive = probabilities >= threshold
    return float(positive[labels == 1].mean()), float((~positive[labels == 0]).mean())
