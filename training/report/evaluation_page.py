"""The report of one bundle on one part of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation import IN_SAMPLE, NO_BASELINE, AtThreshold, Evaluation
from training.misses import Miss
from training.report.figures import (
    Points,
    calibration_figure,
    histogram_figure,
    history_figure,
    precision_recall_figure,
    roc_figure,
)
from training.report.page import render
from training.report.pictures import overlay_uri, radiograph_uri

OWN, HALF = "the bundle's threshold", "probability .5"


def evaluation_page(evaluation: Evaluation, misses: Sequence[Miss]) -> str:
    """The whole page as text."""
    labels, probabilities = evaluation.predictions.labels, evaluation.probabilities
    points = {OWN: evaluation.at_threshold, HALF: evaluation.at_half}
    history = evaluation.manifest.training.get("history", [])
    return render(
        "evaluation.html",
        evaluation=evaluation,
        points=points,
        in_sample=IN_SAMPLE if evaluation.in_sample else "",
        no_baseline=NO_BASELINE,
        roc=roc_figure(labels, {"": probabilities}, _on_roc(points)),
        precision_recall=precision_recall_figure(
            labels, {"": probabilities}, _on_precision_recall(points)
        ),
        calibration=calibration_figure(labels, probabilities),
        histogram=histogram_figure(
            labels, probabilities, {name: at.threshold for name, at in points.items()}
        ),
        history=history_figure(history) if history else "",
        misses=[(m, radiograph_uri(m.plane), overlay_uri(m.plane, m.saliency)) for m in misses],
        wrong=evaluation.at_threshold.confusion.false_negative
        + evaluation.at_threshold.confusion.false_positive,
    )


def _on_roc(points: dict[str, AtThreshold]) -> Points:
    return {k: (1 - at.metrics.specificity, at.metrics.recall) for k, at in points.items()}


def _on_precision_recall(points: dict[str, AtThreshold]) -> Points:
    return {k: (at.metrics.recall, at.metrics.precision) for k, at in points.items()}
