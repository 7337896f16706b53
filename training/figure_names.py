"""How figures are named and written wherever a person reads them."""

from __future__ import annotations

from training.evaluation import AtThreshold

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
"""Field of Metrics -> what a reader calls it, in the order of every table."""

ADJECTIVES = {"bacteria": "bacterial", "virus": "viral"}
"""Kind of pneumonia -> its adjective."""


def shown(value: float) -> str:
    """Four places, without the leading nought, as journals print them: .9731; a dash for NaN."""
    if value != value:  # noqa: PLR0124  NaN is the one value that differs from itself
        return "-"
    text = f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def shown_interval(ends: tuple[float, float]) -> str:
    """(.9612-.9824)."""
    return f"({shown(ends[0])}-{shown(ends[1])})"


def with_interval(point: AtThreshold, name: str) -> str:
    """A figure, and its interval where it has one."""
    value = shown(getattr(point.metrics, name))
    return f"{value}  {shown_interval(point.intervals[name])}" if name in point.intervals else value
