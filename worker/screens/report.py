"""`pneumo report`: the analysts' views, with the columns that fit a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from db.studies.overview import count_view_rows, view_rows
from worker.screens.console import RESEARCH_ONLY, cell, counted, reading, titled_table, wide_console
from worker.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """How `pneumo report` prints one of the analysts' views."""

    view: str
    """Its name in SQL."""
    title: str
    """Its title on the screen."""
    columns: tuple[str, ...] = ()
    """The columns that fit a terminal; empty: all. SQL shows the rest."""


REPORT = (
    ReportTable(
        view="v1_studies",
        title="Studies",
        columns=(
            "study_key", "priority", "state", "verdict", "probability", "model_version",
            "instances", "error_code", "turnaround_seconds",
        ),
    ),
    ReportTable(
        view="v1_predictions",
        title="Predictions",
        columns=(
            "study_key", "instance_number", "verdict", "probability", "logit", "model_version",
            "device", "view_position",
        ),
    ),
    ReportTable(
        view="v1_refusals_by_code",
        title="Refusals by code",
        columns=("refusal_code", "refusal_step", "refusal_tag", "instances", "studies"),
    ),
    ReportTable(view="v1_turnaround_by_priority", title="Turn-around by priority (seconds)"),
    ReportTable(
        view="v1_shadow_agreement",
        title="Shadow beside active model",
        columns=(
            "study_key", "active_version", "active_probability", "shadow_version",
            "shadow_probability", "shadow_verdict", "agrees",
        ),
    ),
    ReportTable(
        view="v1_deliveries",
        title="Results on their way to the PACS",
        columns=(
            "study_key", "destination", "revision", "model_version", "state", "is_superseded",
            "attempts", "error_code", "sent_at",
        ),
    ),
)  # fmt: skip
"""The tables of `pneumo report`, in order."""
NEVER_TRUNCATED = {
    "study_key", "model_version", "probability", "refusal_code", "active_probability",
    "shadow_probability",
}  # fmt: skip
"""Columns that are useless when cut."""
REPORT_ROWS = 20
"""How many of the newest rows of a long view are printed."""


def show_report(settings: Settings, console: Console | None = None) -> None:
    """Print the analysts' views, newest rows first where there are many."""
    console = console or wide_console()
    with reading(settings) as session:
        for report in REPORT:
            columns, rows = view_rows(session, report.view, limit=REPORT_ROWS)
            few = len(rows) < REPORT_ROWS
            total = len(rows) if few else count_view_rows(session, report.view)
            console.print(_view_table(report, columns, rows, total))
    console.print(RESEARCH_ONLY, style="dim")


def _view_table(
    report: ReportTable, columns: Sequence[str], rows: Sequence[Sequence[object]], total: int
) -> Table:
    places = [columns.index(column) for column in report.columns or columns]
    count = f"newest {len(rows)} of {total} rows" if total > len(rows) else counted(total, "row")
    table = titled_table(report.title)
    table.caption, table.caption_justify = f"{count} of {report.view}", "left"
    for place in places:
        name = columns[place]
        table.add_column(name.replace("_", " "), no_wrap=name in NEVER_TRUNCATED)
    for row in rows:
        table.add_row(*[cell(row[place]) for place in places])
    return table
