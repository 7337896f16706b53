"""Commands for what needs a person."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.options import MEND, shown_by

commands = typer.Typer()


@commands.command(rich_help_panel=MEND)
@shown_by("worker.screens.admin:retry_studies")
def retry(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Study keys, or the beginnings of some.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Retry every parked study.")] = False,
    code: Annotated[
        str | None, typer.Option(help="With --parked: only those with this code.")
    ] = None,
) -> None:
    """Retry parked studies, once the cause is fixed."""
