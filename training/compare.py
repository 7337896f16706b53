"""What `pneumo compare` does: both bundles on the same images, a table, comparison.json and .html."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.comparison import Comparison, PartComparison, compare_part, decide
from training.data import TEST
from training.evaluate import on_fitting_device
from training.evaluation import IN_SAMPLE, bundle_name
from training.evaluation_set import TEST_SPLIT, predict, read_parts
from training.figure_names import HEADLINE, NAMES, shown, with_interval
from training.progress import reading_teller
from training.run import CACHE, Source
from training.splits import HoldOut
from training.writing import told_as_resource
from worker.errors import Rejected
from worker.model.bundle import Bundle, load_bundle

COMPARISON_FILE, PAGE_FILE = "comparison.json", "comparison.html"
SPLITS = {"development": ("validation", "block"), TEST_SPLIT: TEST}
"""What `--split` may be -> the parts that are looked at."""
FIGURES = (*HEADLINE, "specificity", "auroc", "specificity_at_97", "ece")
"""Of the terminal's table; the page and the JSON have all."""


def run_compare(
    first: Path,
    second: Path,
    *,
    data: Path,
    split: str,
    output: Path,
    labels: Path | None = None,
    groups: Path | None = None,
    strict: bool = False,
    threads: int = 0,
) -> Comparison:
    """Compare two bundles and write two files. Raises Rejected, Resource."""
    console, source = Console(), Source(root=data, labels=labels, groups=groups, strict=strict)
    bundles = (load_bundle(first), load_bundle(second))
    _require_comparable(bundles)
    for bundle in bundles:
        on_fitting_device(bundle, threads)
    comparison = compare(bundles, source, split, output.parent / CACHE, console)
    write_comparison(output, comparison)
    print_comparison(console, comparison)
    console.print(f"Written: {output / PAGE_FILE}, {COMPARISON_FILE}")
    return comparison


def compare(
    bundles: tuple[Bundle, Bundle], source: Source, split: str, cache: Path, console: Console
) -> Comparison:
    """Both on every part of the split, and the verdict."""
    first, second = bundles
    manifests = (first.manifest, second.manifest)
    with reading_teller(console) as tell:
        parts = read_parts(
            source,
            first.manifest.preprocessing,
            SPLITS[split],
            hold_out=HoldOut.VALIDATION.value,
            cache=cache,
            tell=tell,
            absent_is_left_out=True,
        )
    compared = []
    for images in parts:
        with console.status(f"predicting {len(images.radiographs)} {images.split} images twice"):
            said = (predict(first, images, cache), predict(second, images, cache))
            compared.append(compare_part(images, manifests, said))
    return Comparison(
        names=(bundle_name(first.manifest), bundle_name(second.manifest)),
        parts=tuple(compared),
        verdict=decide(manifests, compared),
    )


def write_comparison(output: Path, comparison: Comparison) -> None:
    """comparison.json and comparison.html. Raises Resource("REPORT_NOT_WRITTEN")."""
    from training.report.comparison_page import comparison_page  # matplotlib takes its time

    page = comparison_page(comparison)
    with told_as_resource(output):
        output.mkdir(parents=True, exist_ok=True)
        (output / COMPARISON_FILE).write_text(json.dumps(comparison.to_dict(), indent=2) + "\n")
        (output / PAGE_FILE).write_text(page, encoding="utf-8")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """One table for each part, then the verdict."""
    for part in comparison.parts:
        console.print(_table(part))
        console.print(
            f"McNemar, exact: p = {part.mcnemar.p:.3g} ({part.mcnemar.only_first_right} images are "
            f"called rightly by the first alone, {part.mcnemar.only_second_right} by the second "
            f"alone). DeLong: p = {part.delong.p:.3g}.",
            highlight=False,
        )
        console.print()
    for name in comparison.in_sample:
        console.print(Text(f"IN SAMPLE, {name}:", style="bold red"), Text(IN_SAMPLE))
    for sentence in comparison.verdict.sentences:
        console.print(sentence, highlight=False)


def _table(part: PartComparison) -> Table:
    title = f"{part.part}: {len(part.labels)} images of {part.patients} patients"
    headings = [f"{side.name}\nat {shown(side.at_threshold.threshold)}" for side in part.sides]
    table = Table("figure", *headings, title=title, title_justify="left")
    for name in FIGURES:
        table.add_row(NAMES[name], *(with_interval(side.at_threshold, name) for side in part.sides))
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
