"""Commands for what waits for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.options import MEND, command_settings

commands = typer.Typer()


@commands.command(rich_help_panel=MEND)
def retry(
    studies: Annotated[list[str] | None, typer.Argument(help="Study keys (or beginnings).")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Every parked study.")] = False,
    code: Annotated[
        str | None, typer.Option(help="With --parked: only those with this code.")
    ] = None,
) -> None:
    """Try parked studies again, once the cause is mended."""
    from worker.screens.admin import retry_studies

    raise typer.Exit(retry_studies(command_settings(), studies or [], all_parked=parked, code=code))
