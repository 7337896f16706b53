"""What `pneumo demo` prints: the table of results, the findings, where everything lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from worker.operations.demo_findings import Finding, Sent
from worker.operations.screens import COLOUR


def results_table(sent: Sequence[Sent]) -> Table:
    """One row for each study, with the seconds of each step; fits into 100 columns.

    In a narrower terminal words go on in a second line; figures are never cut.
    """
    table = Table(
        title="What came of the studies (times in seconds)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    for heading in ("study", "source syntax", "verdict", "model version"):
        table.add_column(heading, overflow="fold")
    for heading in ("probability", "wait", "read", "norm", "infer", "store", "total"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for item in sent:
        table.add_row(*row_of(item))
    return table


def row_of(item: Sent) -> list[str | Text]:
    """The cells of one study."""
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
    """e.g. 0.03, 12.3, 120."""
    digits = 2 if seconds < 9.995 else 1 if seconds < 99.95 else 0
    return f"{seconds:.{digits}f}"


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """What was checked; what failed comes last, where it is seen."""
    for finding in sorted(findings, key=lambda f: not f.holds):
        mark = "[green]ok[/]    " if finding.holds else "[bold red]FAILED[/]"
        console.print(f"{mark} {escape(finding.sentence)}", highlight=False, soft_wrap=True)


def show_whereabouts(folder: Path, sent: Sequence[Sent], seconds: float, console: Console) -> None:
    """Where everything lies, and what to type next."""
    key = sent[0].detail.summary.study_key[:12] if sent else "STUDY"
    pneumo = f".venv/bin/pneumo --state {folder}"
    console.print(
        f"\ndatabase  {folder}/pneumo.sqlite\nlogs      {folder}/logs\n"
        f"next      {pneumo} show {key}\n          {pneumo} report\n          .venv/bin/pneumo up\n\n"
        f"Took {seconds:.0f} s. For research until cleared where it is used.",
        highlight=False,
        soft_wrap=True,
    )
