"""What `pneumo evaluate` does: read, predict, measure; a table, evaluation.json and report.html."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.evaluation import IN_SAMPLE, NO_BASELINE, AtThreshold, Evaluation, evaluate
from training.evaluation_set import EvaluationSet, hold_out_of, predict, read_parts
from training.figure_names import (
    ADJECTIVES,
    HEADLINE,
    NAMES,
    shown,
    shown_interval,
    with_interval,
)
from training.misses import worst_misses
from training.progress import reading_teller
from training.run import CACHE, Source
from training.splits import HoldOut
from training.writing import told_as_resource
from worker.model.bundle import Bundle, load_bundle
from worker.model.predictor import choose_device, describe_device

EVALUATION_FILE, PREDICTIONS_FILE, REPORT_FILE = (
    "evaluation.json",
    "predictions.csv",
    "report.html",
)


def run_evaluate(
    bundle: Path,
    *,
    data: Path,
    split: str,
    output: Path,
    labels: Path | None = None,
    groups: Path | None = None,
    strict: bool = False,
    threads: int = 0,
) -> Evaluation:
    """Measure a bundle on one split and write three files. Raises Rejected, Resource."""
    console, source = Console(), Source(root=data, labels=labels, groups=groups, strict=strict)
    loaded = on_fitting_device(load_bundle(bundle), threads)
    images = read_one(loaded, source, split, output.parent / CACHE, console)
    with console.status(f"predicting {len(images.radiographs)} images") as status:
        predictions = predict(loaded, images, output.parent / CACHE)
        status.update("measuring and probing")
        evaluation = evaluate(loaded, images, predictions)
        status.update("writing the report")
        write_evaluation(output, loaded, images, evaluation)
    print_evaluation(console, evaluation)
    console.print(f"Written: {output / REPORT_FILE}, {EVALUATION_FILE}, {PREDICTIONS_FILE}")
    return evaluation


def on_fitting_device(bundle: Bundle, threads: int) -> Bundle:
    """The bundle with its network where it computes fastest, in full fp32."""
    if threads:
        torch.set_num_threads(threads)
    device = choose_device("auto")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    bundle.model.to(device).to(memory_format=torch.channels_last)
    return bundle


def read_one(
    bundle: Bundle, source: Source, split: str, cache: Path, console: Console
) -> EvaluationSet:
    """The images of one split, cut as the bundle's own run cut them."""
    hold_out = hold_out_of(bundle.manifest)
    if hold_out == HoldOut.NONE:
        hold_out = HoldOut.VALIDATION.value
    spec = bundle.manifest.preprocessing
    with reading_teller(console) as tell:
        (images,) = read_parts(source, spec, [split], hold_out=hold_out, cache=cache, tell=tell)
    return images


def write_evaluation(
    output: Path, bundle: Bundle, images: EvaluationSet, evaluation: Evaluation
) -> None:
    """predictions.csv, evaluation.json, report.html. Raises Resource("REPORT_NOT_WRITTEN")."""
    from training.report.evaluation_page import evaluation_page  # matplotlib takes its time

    page = evaluation_page(evaluation, worst_misses(bundle, images, evaluation))
    content = {**evaluation.to_dict(), "device": describe_device(device_of(bundle))}
    with told_as_resource(output):
        output.mkdir(parents=True, exist_ok=True)
        evaluation.predictions.write(output / PREDICTIONS_FILE, evaluation.probabilities)
        (output / EVALUATION_FILE).write_text(json.dumps(content, indent=2) + "\n")
        (output / REPORT_FILE).write_text(page, encoding="utf-8")


def device_of(bundle: Bundle) -> torch.device:
    """Where the network is."""
    return next(bundle.model.parameters()).device


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The table, and below it what a reader must know of it."""
    console.print(_table(evaluation))
    if evaluation.in_sample:
        console.print(Text("IN SAMPLE", style="bold red"), Text(IN_SAMPLE))
    probes, baseline = evaluation.probes, evaluation.nuisance
    console.print(
        f"Nuisance baseline: AUROC {shown(baseline.auroc)} from 15 numbers without anatomy."
        if baseline
        else f"Nuisance baseline: {NO_BASELINE}",
        highlight=False,
    )
    changes = ", ".join(f"{look.name} {look.change:+.4f}" for look in probes.looks)
    console.print(f"AUROC change on {probes.images} images: {changes}.", highlight=False)
    console.print(
        f"Grad-CAM in the outer strip: {probes.border_mass:.1%} of its mass, on "
        f"{probes.border_area:.1%} of the area.",
        highlight=False,
    )


def _table(evaluation: Evaluation) -> Table:
    own, half = evaluation.at_threshold, evaluation.at_half
    table = Table(
        "figure",
        f"at its threshold {shown(own.threshold)}",
        "at .5",
        title=f"{evaluation.name} on {evaluation.split}: {own.metrics.images} images of "
        f"{evaluation.patients} patients",
        title_justify="left",
    )
    for name, title in NAMES.items():
        table.add_row(title, with_interval(own, name), with_interval(half, name))
        if name == HEADLINE[-1]:
            table.add_section()
    for kind in own.by_subtype:
        table.add_row(
            f"recall, {ADJECTIVES[kind]}", *(_subtype(point, kind) for point in (own, half))
        )
    return table


def _subtype(point: AtThreshold, kind: str) -> str:
    share = point.by_subtype[kind]
    return f"{shown(share.value)}  {shown_interval(share.interval)}"
