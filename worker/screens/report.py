"""`pneumo report`: the analysts' views, with the columns that fit a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from db.studies.overview import count_view_rows, view_rows
from worker.screens.console import RESEARCH_ONLY, cell, counted, reading, titled_table, wide_console
from worker.settings import Settings

REPORT = {
    "v1_studies": (
        "Studies",
        (
            "study_key priority state verdict probability model_version instances error_code "
            "turnaround_seconds"
        ),
    ),
    "v1_predictions": (
        "Predictions",
        "study_key instance_number verdict probability logit model_version device view_position",
    ),
    "v1_refusals_by_code": (
        "Refusals by code",
        "refusal_code refusal_step refusal_tag instances studies",
    ),
    "v1_turnaround_by_priority": ("Turn-around by priority (seconds)", ""),
    "v1_shadow_agreement": (
        "Shadow beside active model",
        (
            "study_key active_version active_probability shadow_version shadow_probability "
            "shadow_verdict agrees"
        ),
    ),
    "v1_deliveries": (
        "Results on their way to the PACS",
        (
            "study_key destination revision model_version state is_superseded attempts error_code "
            "sent_at"
        ),
    ),
}
"""The views in order, each with its title and the columns that fit a terminal; none: all."""
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
        for view, (title, chosen) in REPORT.items():
            columns, rows = view_rows(session, view, limit=REPORT_ROWS)
            few = len(rows) < REPORT_ROWS
            total = len(rows) if few else count_view_rows(session, view)
            count = (
                f"newest {len(rows)} of {total} rows"
                if total > len(rows)
                else counted(total, "row")
            )
            table = titled_table(title)
            table.caption, table.caption_justify = f"{count} of {view}", "left"
            _fill(table, chosen.split() or columns, columns, rows)
            console.print(table)
    console.print(RESEARCH_ONLY, style="dim")


def _fill(
    table: Table, chosen: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Add the chosen columns of the view's rows."""
    for name in chosen:
        table.add_column(name.replace("_", " "), no_wrap=name in NEVER_TRUNCATED)
    for row in rows:
        table.add_row(*(cell(row[columns.index(name)]) for name in chosen))
