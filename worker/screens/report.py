"""`pneumo report`: the analysts' views, with the columns that fit a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from db.studies.overview import count_view_rows, view_rows
from worker.screens.console import RESEARCH_ONLY, cell, counted, reading, titled_table, wide_console
from worker.settings import Settings

REPORT = {
    "v1_studies": (
        "Studies",
        (
            "study_key state verdict error_code probability priority model_version instances "
            "turnaround_seconds"
        ),
    ),
    "v1_predictions": (
        "Predictions",
        "study_key instance_number verdict probability logit model_version device view_position",
    ),
    "v1_refusals_by_code": (
        "Refusals by code",
        "refusal_code instances studies refusal_step refusal_tag",
    ),
    "v1_turnaround_by_priority": ("Turn-around by priority (seconds)", ""),
    "v1_shadow_agreement": (
        "Shadow beside active model",
        (
            "study_key active_probability shadow_probability agrees active_version shadow_version "
            "shadow_verdict"
        ),
    ),
    "v1_deliveries": (
        "Results on their way to the PACS",
        (
            "study_key destination state error_code revision model_version is_superseded attempts "
            "sent_at"
        ),
    ),
}
"""The views in order, each with its title and columns, the most important first; none: all."""
REPORT_ROWS = 20
"""How many of the newest rows of a long view are printed."""


def show_report(settings: Settings, console: Console | None = None) -> None:
    """Print the analysts' views, newest rows first where there are many."""
    console = console or wide_console()
    with reading(settings) as session:
        for view, (title, chosen) in REPORT.items():
            columns, rows = view_rows(session, view, limit=REPORT_ROWS)
            few = len(rows) < REPORT_ROWS
            total = len(rows) if few else count_view_rows(session, view)
            table = _view_table(title, chosen.split() or columns, columns, rows)
            left_out = _drop_what_does_not_fit(table, console)
            count = f"newest {len(rows)} of {total}" if total > len(rows) else str(total)
            table.caption = f"{count} {'row' if total == 1 else 'rows'} of {view}{left_out}"
            console.print(table)
    console.print(RESEARCH_ONLY, style="dim")


def _view_table(
    title: str, chosen: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> Table:
    table = titled_table(title)
    table.caption_justify = "left"
    for name in chosen:
        wraps = name == "refusal_tag"
        table.add_column(
            name.replace("_", "\n"), no_wrap=not wraps, max_width=16 if wraps else None
        )
    for row in rows:
        table.add_row(*(cell(row[columns.index(name)]) for name in chosen))
    return table


def _drop_what_does_not_fit(table: Table, console: Console) -> str:
    """Drop the last columns that a narrow terminal has no room for, and say how many."""
    total, roomy = len(table.columns), console.options.update(max_width=1000)
    while Measurement.get(console, roomy, table).maximum > console.width:
        table.columns.pop()
    dropped = total - len(table.columns)
    return f"; no room for {counted(dropped, 'column')}" if dropped else ""
