"""What `pneumo evaluate` does: read, predict, measure; a table, evaluation.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.data.data_set import CACHE, ImageSource
from training.data.progress import reading_progress
from training.data.splits import HoldOut
from training.evaluate.evaluation import IN_SAMPLE, NO_BASELINE, Evaluation, evaluate
from training.evaluate.evaluation_set import EvaluationSet, hold_out_of, predict, read_parts
from training.evaluate.largest_errors import Misclassification, largest_errors
from training.evaluate.threshold_metrics import ThresholdMetrics
from training.report.curves import (
    calibration_figure,
    histogram_figure,
    history_figure,
    precision_recall_figure,
    roc_figure,
)
from training.report.metric_names import (
    ADJECTIVES,
    HEADLINE,
    NAMES,
    format_interval,
    format_metric,
    metric_cell,
)
from training.report.page import render, write_report
from training.report.pictures import overlay_uri, radiograph_uri
from worker.model.bundle import Bundle, load_bundle
from worker.model.predictor import choose_device, describe_device

EVALUATION_FILE, PREDICTIONS_FILE, PAGE_FILE = "evaluation.json", "predictions.csv", "report.html"
OWN, HALF = "the bundle's threshold", "probability .5"


def report_evaluation(folder: Path, source: ImageSource, split: str, output: Path) -> None:
    """Measure a bundle on one split and write three files. Raises Rejected, Resource."""
    console, bundle, cache = Console(), load_for_evaluation(folder), output.parent / CACHE
    images = read_part(bundle, source, split, cache, console)
    with console.status(f"predicting {len(images.radiographs)} images") as status:
        predictions = predict(bundle, images, cache)
        status.update("measuring and probing")
        evaluation = evaluate(bundle, images, predictions)
        status.update("writing the report")
        write_evaluation(output, bundle, images, evaluation)
    print_evaluation(console, evaluation)
    console.print(f"Written: {output / PAGE_FILE}, {EVALUATION_FILE}, {PREDICTIONS_FILE}")


def load_for_evaluation(folder: Path) -> Bundle:
    """The bundle with its network where it computes fastest, in full fp32."""
    bundle = load_bundle(folder)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    bundle.model.to(choose_device("auto")).to(memory_format=torch.channels_last)
    return bundle


def read_part(
    bundle: Bundle, source: ImageSource, split: str, cache: Path, console: Console
) -> EvaluationSet:
    """The images of one split, cut as the bundle's own run cut them."""
    hold_out = hold_out_of(bundle.manifest)
    if hold_out == HoldOut.NONE:
        hold_out = HoldOut.VALIDATION.value
    spec = bundle.manifest.preprocessing
    with reading_progress(console) as show:
        (images,) = read_parts(
            source, spec, [split], hold_out=hold_out, cache=cache, on_progress=show
        )
    return images


def write_evaluation(
    output: Path, bundle: Bundle, images: EvaluationSet, evaluation: Evaluation
) -> None:
    """predictions.csv, evaluation.json, report.html. Raises Resource("REPORT_NOT_WRITTEN")."""
    device = next(bundle.model.parameters()).device
    content = {**evaluation.to_dict(), "device": describe_device(device)}
    errors = largest_errors(bundle, images, evaluation)
    texts = {
        PREDICTIONS_FILE: evaluation.predictions.to_csv(evaluation.probabilities),
        EVALUATION_FILE: json.dumps(content, indent=2) + "\n",
        PAGE_FILE: evaluation_page(evaluation, errors),
    }
    write_report(output, texts)


def evaluation_page(evaluation: Evaluation, errors: Sequence[Misclassification]) -> str:
    """report.html as text."""
    labels, scores = evaluation.predictions.labels, {"": evaluation.probabilities}
    points = {OWN: evaluation.at_threshold, HALF: evaluation.at_half}
    metrics = {name: point.metrics for name, point in points.items()}
    thresholds = {name: point.threshold for name, point in points.items()}
    history = evaluation.manifest.training.get("history", [])
    return render(
        "evaluation.html",
        evaluation=evaluation,
        points=points,
        roc=roc_figure(labels, scores, metrics),
        precision_recall=precision_recall_figure(labels, scores, metrics),
        calibration=calibration_figure(labels, evaluation.probabilities),
        histogram=histogram_figure(labels, evaluation.probabilities, thresholds),
        history=history_figure(history) if history else "",
        errors=[(e, radiograph_uri(e.plane), overlay_uri(e.plane, e.saliency)) for e in errors],
    )


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The table, and below it what a reader must know of it."""
    console.print(_table(evaluation))
    if evaluation.in_sample:
        console.print(Text("IN SAMPLE", style="bold red"), Text(IN_SAMPLE))
    probes, baseline = evaluation.probes, evaluation.baseline
    changes = ", ".join(f"{each.name} {each.change:+.4f}" for each in probes.perturbed)
    found = NO_BASELINE
    if baseline:
        found = f"AUROC {format_metric(baseline.auroc)} from 15 numbers without anatomy."
    for sentence in (
        f"Confounder baseline: {found}",
        f"AUROC change on {probes.images} images: {changes}.",
        f"Grad-CAM in the outer strip: {probes.border_mass:.1%}, of {probes.border_area:.1%} area.",
    ):
        console.print(sentence, highlight=False)


def _table(evaluation: Evaluation) -> Table:
    own, half = evaluation.at_threshold, evaluation.at_half
    table = Table(
        "figure",
        f"at its threshold {format_metric(own.threshold)}",
        "at .5",
        title=f"{evaluation.name} on {evaluation.split}: {own.metrics.images} images of "
        f"{evaluation.patients} patients",
        title_justify="left",
    )
    for name, title in NAMES.items():
        table.add_row(title, metric_cell(own, name), metric_cell(half, name))
        if name == HEADLINE[-1]:
            table.add_section()
    for kind in own.by_subtype:
        cells = (_subtype_cell(point, kind) for point in (own, half))
        table.add_row(f"recall, {ADJECTIVES[kind]}", *cells)
    return table


def _subtype_cell(point: ThresholdMetrics, kind: str) -> str:
    recall = point.by_subtype[kind]
    return f"{format_metric(recall.value)}  {format_interval(recall.interval)}"
