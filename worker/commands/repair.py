"""Commands for what needs a person."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.options import MEND, ParkedSince, shown_by

commands = typer.Typer()


@commands.command(rich_help_panel=MEND)
@shown_by("worker.screens.parked:show_parked")
def parked(
    since: ParkedSince = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what is parked by code: how many, since when, which, and what to do about it."""


@commands.command(rich_help_panel=MEND)
@shown_by("worker.screens.parked:retry_studies")
def retry(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Study keys, or the beginnings of some.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Retry every parked study.")] = False,
    code: Annotated[str | None, typer.Option(help="Only those parked with this code.")] = None,
    since: ParkedSince = None,
) -> None:
    """Retry parked studies, once the cause is fixed: those named, or all with a code or of a time."""
