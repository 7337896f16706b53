"""How far one gets without looking at lungs: the baseline that a network must surpass.

Exposure, sharpness and border identify hospitals and machines, and where the sick were imaged on
another machine than the well, they predict the label too. A logistic regression on 15 such numbers
shows how much of a set's AUROC can be had that way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.data.data_set import LabelledPlanes
from training.evaluate.intervals import bootstrap_intervals
from training.evaluate.metrics import measure, rounded

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BLACK = 8
"""Grey levels below this are black."""
CONFOUNDERS = (
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
"""The statistics of a plane, in the order of `confounders`; none of them is anatomy."""
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class ConfounderBaseline:
    """What the 15 numbers alone achieve on the same images."""

    fitted_on: int
    """Number of images that it was fitted on, none of them among the measured."""
    auroc: float
    """Area under its ROC curve."""
    interval: tuple[float, float]
    """95 %, by a bootstrap of patients."""
    accuracy: float
    """At probability .5."""
    specificity_at_97: float
    """Where its sensitivity is .97."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values: dict[str, Any] = rounded(dataclasses.asdict(self))
        values["learnt_from"] = values.pop("fitted_on")
        return values


def fit_confounder_baseline(
    train: LabelledPlanes, planes: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> ConfounderBaseline:
    """Fit on the m images of `train`; measure on planes uint8 (n, S, S), labels and patients (n,)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(confounders(train.planes), train.labels)
    probabilities = model.predict_proba(confounders(planes))[:, 1]
    metrics = measure(labels, probabilities, 0.5)
    return ConfounderBaseline(
        fitted_on=len(train.labels),
        auroc=metrics.auroc,
        interval=bootstrap_intervals(labels, probabilities, patients, 0.5)["auroc"],
        accuracy=metrics.accuracy,
        specificity_at_97=metrics.specificity_at_97,
    )


def confounders(planes: np.ndarray) -> np.ndarray:
    """The CONFOUNDERS of planes uint8 (n, S, S), float64 (n, 15), in grey levels where they have a unit."""
    parts = [
        _confounders_of(np.asarray(planes[start : start + _AT_ONCE]))
        for start in range(0, len(planes), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _confounders_of(planes: np.ndarray) -> np.ndarray:
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
