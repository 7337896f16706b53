"""The report of two bundles side by side."""

from __future__ import annotations

from training.comparison import ENSEMBLE, RULE, Comparison, PartComparison
from training.evaluation import IN_SAMPLE
from training.report.figures import differences_figure, precision_recall_figure, roc_figure
from training.report.page import render


def comparison_page(comparison: Comparison) -> str:
    """The whole page as text."""
    return render(
        "comparison.html",
        comparison=comparison,
        in_sample=IN_SAMPLE if comparison.in_sample else "",
        rule=RULE,
        ensemble=ENSEMBLE,
        differences=differences_figure(
            {part.part: (part.difference, *part.interval) for part in comparison.parts},
            f"AUROC of {comparison.names[0]} less that of {comparison.names[1]}",
        ),
        parts=[(part, *_curves(part)) for part in comparison.parts],
    )


def _curves(part: PartComparison) -> tuple[str, str]:
    scores = {side.name: side.probabilities for side in part.sides}
    metrics = {side.name: side.at_threshold.metrics for side in part.sides}
    return (
        roc_figure(
            part.labels, scores, {k: (1 - m.specificity, m.recall) for k, m in metrics.items()}
        ),
        precision_recall_figure(
            part.labels, scores, {k: (m.recall, m.precision) for k, m in metrics.items()}
        ),
    )
