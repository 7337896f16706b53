"""What `pneumo compare` does: both bundles on the same images, a table, comparison.json and .html."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.data.class_folders import TEST
from training.data.data_set import CACHE, ImageSource
from training.data.progress import reading_progress
from training.data.splits import HoldOut
from training.evaluate.comparison import (
    ENSEMBLE,
    RULE,
    Comparison,
    PartComparison,
    choose_model,
    compare_part,
)
from training.evaluate.evaluation import IN_SAMPLE, bundle_name
from training.evaluate.evaluation_set import TEST_SPLIT, predict, read_parts
from training.report.curves import differences_figure, precision_recall_figure, roc_figure
from training.report.evaluation_report import load_for_evaluation
from training.report.metric_names import HEADLINE, NAMES, format_metric, metric_cell
from training.report.page import render, write_report
from worker.errors import Rejected
from worker.model.bundle import Bundle

COMPARISON_FILE, PAGE_FILE = "comparison.json", "comparison.html"
SPLITS = {"development": ("validation", "block"), TEST_SPLIT: TEST}
"""The values of `--split` -> the parts that are measured."""
TERMINAL_METRICS = (*HEADLINE, "specificity", "auroc", "specificity_at_97", "ece")
"""In the terminal's table; the page and the JSON have all."""


def report_comparison(
    first: Path, second: Path, source: ImageSource, split: str, output: Path
) -> None:
    """Compare two bundles and write two files. Raises Rejected, Resource."""
    console = Console()
    bundles = (load_for_evaluation(first), load_for_evaluation(second))
    _require_comparable(bundles)
    comparison = compare(bundles, source, split, output.parent / CACHE, console)
    content = json.dumps(comparison.to_dict(), indent=2) + "\n"
    write_report(output, {COMPARISON_FILE: content, PAGE_FILE: comparison_page(comparison)})
    print_comparison(console, comparison)
    console.print(f"Written: {output / PAGE_FILE}, {COMPARISON_FILE}")


def compare(
    bundles: tuple[Bundle, Bundle], source: ImageSource, split: str, cache: Path, console: Console
) -> Comparison:
    """Measure both on every part of the split, and choose one by the rule."""
    first, second = bundles
    manifests = (first.manifest, second.manifest)
    with reading_progress(console) as show:
        parts = read_parts(
            source,
            first.manifest.preprocessing,
            SPLITS[split],
            hold_out=HoldOut.VALIDATION.value,
            cache=cache,
            on_progress=show,
            skip_empty=True,
        )
    compared = []
    for images in parts:
        with console.status(f"predicting {len(images.radiographs)} {images.split} images twice"):
            predictions = (predict(first, images, cache), predict(second, images, cache))
            compared.append(compare_part(images, manifests, predictions))
    return Comparison(
        names=(bundle_name(first.manifest), bundle_name(second.manifest)),
        parts=tuple(compared),
        choice=choose_model(manifests, compared),
    )


def comparison_page(comparison: Comparison) -> str:
    """comparison.html as text."""
    return render(
        "comparison.html",
        comparison=comparison,
        rule=RULE,
        ensemble=ENSEMBLE,
        differences=differences_figure(
            {part.part: (part.difference, *part.interval) for part in comparison.parts},
            f"AUROC of {comparison.names[0]} less that of {comparison.names[1]}",
        ),
        parts=[(part, *_curves(part)) for part in comparison.parts],
    )


def _curves(part: PartComparison) -> tuple[str, str]:
    scores = {model.name: model.probabilities for model in part.models}
    metrics = {model.name: model.at_threshold.metrics for model in part.models}
    return (
        roc_figure(part.labels, scores, metrics),
        precision_recall_figure(part.labels, scores, metrics),
    )


def print_comparison(console: Console, comparison: Comparison) -> None:
    """One table for each part, then the choice."""
    for part in comparison.parts:
        console.print(_table(part))
        console.print(
            f"McNemar, exact: p = {part.mcnemar.p:.3g} (the first alone is correct on "
            f"{part.mcnemar.only_first_right} images, the second alone on "
            f"{part.mcnemar.only_second_right}). DeLong: p = {part.delong.p:.3g}.",
            highlight=False,
        )
        console.print()
    for name in comparison.in_sample:
        console.print(Text(f"IN SAMPLE, {name}:", style="bold red"), Text(IN_SAMPLE))
    for sentence in comparison.choice.sentences:
        console.print(sentence, highlight=False)


def _table(part: PartComparison) -> Table:
    title = f"{part.part}: {len(part.labels)} images of {part.patients} patients"
    headings = [f"{m.name}\nat {format_metric(m.at_threshold.threshold)}" for m in part.models]
    table = Table("figure", *headings, title=title, title_justify="left")
    for name in TERMINAL_METRICS:
        cells = (metric_cell(model.at_threshold, name) for model in part.models)
        table.add_row(NAMES[name], *cells)
    return table


def _require_comparable(bundles: tuple[Bundle, Bundle]) -> None:
    first, second = (bundle.manifest for bundle in bundles)
    if first.digest == second.digest:
        raise Rejected(
            "SAME_BUNDLE",
            f"Both folders hold {bundle_name(first)}; give two different bundles to compare.",
        )
    if first.preprocessing != second.preprocessing:
        raise Rejected(
            "PREPROCESSING_DIFFERS",
            f"{bundle_name(first)} and {bundle_name(second)} prepare pictures differently, so they "
            "do not see the same images; evaluate them one by one with `pneumo evaluate`.",
        )
