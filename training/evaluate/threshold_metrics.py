"""Everything that is known of some predictions at one threshold: metrics, intervals, counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from training.evaluate.intervals import bootstrap_intervals, wilson
from training.evaluate.metrics import Metrics, measure, rounded
from training.evaluate.predictions import Predictions

HALF = 0.5
SUBTYPES = ("bacteria", "virus")


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """Successes among trials, with a 95 % interval (Wilson)."""

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The proportion; NaN without trials."""
        return self.successes / self.trials if self.trials else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        return wilson(self.successes, self.trials)


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images by label and prediction."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def errors(self) -> int:
        """Images with a wrong prediction."""
        return self.false_negative + self.false_positive

    def proportions(self) -> dict[str, Proportion]:
        """The proportions, by the names of Metrics."""
        tp, fn = self.true_positive, self.false_negative
        fp, tn = self.false_positive, self.true_negative
        return {
            "accuracy": Proportion(successes=tp + tn, trials=tp + fn + fp + tn),
            "precision": Proportion(successes=tp, trials=tp + fp),
            "recall": Proportion(successes=tp, trials=tp + fn),
            "specificity": Proportion(successes=tn, trials=tn + fp),
        }


@dataclass(frozen=True, kw_only=True)
class ThresholdMetrics:
    """All figures at one threshold on the calibrated probability."""

    threshold: float
    """In (0, 1); positive from here."""
    metrics: Metrics
    """The figures."""
    intervals: Mapping[str, tuple[float, float]]
    """95 %, by a bootstrap of patients; by the names of Metrics."""
    confusion: Confusion
    """Counts."""
    by_subtype: Mapping[str, Proportion]
    """Recall of bacterial and of viral pneumonias, where there are any."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        proportions = self.confusion.proportions()
        return {
            "threshold": self.threshold,
            "figures": self.metrics.to_dict(),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "wilson": {name: rounded(each.interval) for name, each in proportions.items()},
            "confusion": dataclasses.asdict(self.confusion),
            "recall_by_subtype": {
                kind: rounded(
                    {"recall": each.value, "images": each.trials, "wilson": each.interval}
                )
                for kind, each in self.by_subtype.items()
            },
        }


def measure_at(
    predictions: Predictions, probabilities: np.ndarray, threshold: float
) -> ThresholdMetrics:
    """The figures of probabilities (n,) at one threshold."""
    labels, positive = predictions.labels, probabilities >= threshold
    (tn, fp), (fn, tp) = confusion_matrix(labels, positive, labels=[0, 1]).tolist()
    kinds = np.array(predictions.subtypes)
    return ThresholdMetrics(
        threshold=threshold,
        metrics=measure(labels, probabilities, threshold),
        intervals=bootstrap_intervals(labels, probabilities, predictions.patients, threshold),
        confusion=Confusion(
            true_positive=tp, false_negative=fn, false_positive=fp, true_negative=tn
        ),
        by_subtype={
            kind: Proportion(
                successes=int(positive[kinds == kind].sum()), trials=int((kinds == kind).sum())
            )
            for kind in SUBTYPES
            if (kinds == kind).any()
        },
    )
