"""How far one gets without looking at lungs: the baseline that a network must leave behind.

Exposure, sharpness and border tell hospitals and machines apart, and where the sick were imaged on
another machine than the well, they tell the label too. A logistic regression on 15 such numbers says
how much of a set's AUROC can be had that way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.intervals import bootstrap_intervals
from training.metrics import auroc, specificity_at

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BLACK = 8
"""Grey levels below this are black."""
NUMBERS = (
    "mean",
    "deviation",
    *(f"percentile {p}" for p in PERCENTILES),
    "black share",
    "sharpness",
    "gradient",
    "border mean",
    "border deviation",
    "corners",
)
"""What is known of a plane, in the order of `nuisance_numbers`; none of it is anatomy."""
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class NuisanceBaseline:
    """What the 15 numbers alone can tell of the same images."""

    learnt_from: int
    """Images that it was fitted on, none of them among the measured."""
    auroc: float
    """Area under its ROC curve."""
    interval: tuple[float, float]
    """95 %, by a bootstrap of patients."""
    accuracy: float
    """At probability .5."""
    specificity_at_97: float
    """Where its sensitivity is .97."""


def nuisance_baseline(
    learnt: np.ndarray,
    learnt_labels: np.ndarray,
    planes: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
) -> NuisanceBaseline:
    """Fit on planes uint8 (m, S, S) and labels (m,), measure on (n, S, S), (n,) of patients (n,)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(nuisance_numbers(learnt), learnt_labels)
    said = model.predict_proba(nuisance_numbers(planes))[:, 1]
    return NuisanceBaseline(
        learnt_from=len(learnt),
        auroc=auroc(labels, said),
        interval=bootstrap_intervals(labels, said, patients, 0.5)["auroc"],
        accuracy=float(((said >= 0.5) == labels).mean()),
        specificity_at_97=specificity_at(labels, said, 0.97),
    )


def nuisance_numbers(planes: np.ndarray) -> np.ndarray:
    """The NUMBERS of planes uint8 (n, S, S), float64 (n, 15), in grey levels where they have a unit."""
    parts = [
        _numbers_of(np.asarray(planes[start : start + _AT_ONCE]))
        for start in range(0, len(planes), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _numbers_of(planes: np.ndarray) -> np.ndarray:
    grey = planes.astype(np.float32)  # (n, S, S)
    n, size = len(grey), grey.shape[-1]
    strip = border_strip(size)
    corner = max(1, size // 10)
    corners = strip.copy()
    corners[corner:-corner, :] = corners[:, corner:-corner] = False
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    down, right = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=2))
    columns = [
        grey.mean((1, 2)),
        grey.std((1, 2)),
        *np.percentile(grey.reshape(n, -1), PERCENTILES, axis=1),
        (grey < BLACK).mean((1, 2)),
        (around - 4 * middle).std((1, 2)),  # of the Laplacian
        (down.mean((1, 2)) + right.mean((1, 2))) / 2,
        grey[:, strip].mean(1),
        grey[:, strip].std(1),
        grey[:, corners].mean(1),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def border_strip(size: int) -> np.ndarray:
    """bool (S, S): the outer 10 % of each side."""
    width = max(1, size // 10)
    strip = np.ones((size, size), dtype=bool)
    strip[width:-width, width:-width] = False
    return strip
