"""What `pneumo demo` prints: the table of results, the checks, where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from worker.demo.checks import CheckResult, SentStudy
from worker.screens.console import COLOUR, RESEARCH_ONLY

FULL_WIDTH = 98
"""Columns of a terminal that the whole table takes."""
MODEL_COLUMN = 3
"""The column that is left out in a narrow terminal."""


def results_table(sent: Sequence[SentStudy], *, width: int) -> Table:
    """One row for each study, with the seconds of each step, for a terminal of `width` columns.

    In a narrow terminal the title names the model version and long words wrap; figures are never cut.
    """
    narrow = width < FULL_WIDTH
    table = Table(
        title=f"Results of the studies{_models(sent) if narrow else ''} (times in seconds)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    for heading in ("study", "source syntax", "verdict", "model version"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("study", "verdict"))
    for heading in ("probability", "wait", "read", "norm", "infer", "store", "total"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for item in sent:
        table.add_row(*row_of(item))
    if narrow:
        del table.columns[MODEL_COLUMN]
    return table


def _models(sent: Sequence[SentStudy]) -> str:
    """Name the model versions, e.g. " by resnet50-0.2.0"."""
    names = sorted({name for item in sent if (name := item.detail.summary.model_name)})
    return f" by {', '.join(names)}" if names else ""


def row_of(item: SentStudy) -> list[str | Text]:
    """Return the cells of one study."""
    summary = item.detail.summary
    last = item.detail.attempts[-1] if item.detail.attempts else None
    seconds = [
        summary.waiting_seconds,
        *((last.read_seconds, last.normalise_seconds) if last else (None, None)),
        *((last.inference_seconds, last.store_seconds) if last else (None, None)),
        summary.turnaround_seconds,
    ]
    verdict = Text(summary.verdict.value, style=COLOUR[summary.verdict]) if summary.verdict else ""
    return [
        item.study.title,
        item.study.syntax_name,
        verdict or summary.state.value,
        summary.model_name or "",
        "" if summary.probability is None else f"{summary.probability:.6f}",
        *("" if value is None else in_four_characters(value) for value in seconds),
    ]


def in_four_characters(seconds: float) -> str:
    """Write seconds in four characters, e.g. 0.03, 12.3, 120."""
    digits = 2 if seconds < 9.995 else 1 if seconds < 99.95 else 0
    return f"{seconds:.{digits}f}"


def show_checks(findings: Sequence[CheckResult], console: Console) -> None:
    """Print the checks; those that failed come last, where they are seen."""
    for finding in sorted(findings, key=lambda f: not f.holds):
        mark = "[green]ok[/]    " if finding.holds else "[bold red]FAILED[/]"
        console.print(f"{mark} {escape(finding.sentence)}", highlight=False, soft_wrap=True)


def show_locations(
    folder: Path, sent: Sequence[SentStudy], seconds: float, console: Console
) -> None:
    """Print where everything is, and what to type next."""
    key = sent[0].detail.summary.study_key[:12] if sent else "STUDY"
    pneumo = f".venv/bin/pneumo --state {folder}"
    console.print(
        f"\ndatabase  {folder}/pneumo.sqlite\nlogs      {folder}/logs\n"
        f"next      {pneumo} show {key}\n          {pneumo} report\n          .venv/bin/pneumo up\n\n"
        f"Took {seconds:.0f} s. {RESEARCH_ONLY}",
        highlight=False,
        soft_wrap=True,
    )
