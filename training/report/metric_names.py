"""How metrics are named and written wherever a person reads them."""

from __future__ import annotations

from training.evaluate.threshold_metrics import ThresholdMetrics

HEADLINE = ("accuracy", "precision", "recall", "f1")
"""The four that come first everywhere."""
NAMES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall (sensitivity)",
    "f1": "F1",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "specificity_at_95": "specificity at sensitivity .95",
    "specificity_at_97": "specificity at sensitivity .97",
    "specificity_at_99": "specificity at sensitivity .99",
}
"""Field of Metrics -> its name for a reader, in the order of every table."""

ADJECTIVES = {"bacteria": "bacterial", "virus": "viral"}
"""Kind of pneumonia -> its adjective."""


def format_metric(value: float) -> str:
    """Four places, without the leading nought, as journals print them: .9731; a dash for NaN."""
    if value != value:  # noqa: PLR0124  NaN is the one value that differs from itself
        return "-"
    text = f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def format_interval(ends: tuple[float, float]) -> str:
    """(.9612-.9824)."""
    return f"({format_metric(ends[0])}-{format_metric(ends[1])})"


def metric_cell(point: ThresholdMetrics, name: str) -> str:
    """A metric, and its interval where it has one."""
    value = format_metric(getattr(point.metrics, name))
    if name not in point.intervals:
        return value
    return f"{value}  {format_interval(point.intervals[name])}"
