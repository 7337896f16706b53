"""The command that shows which words a site still has to explain."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.options import LOOK, shown_by

commands = typer.Typer()


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.vocabulary:show_unknown_words")
def vocabulary(
    limit: Annotated[
        int, typer.Option(min=1, help="How many refused images are looked at, newest first.")
    ] = 10_000,
) -> None:
    """List the words for body parts and views that refused images carry and nobody knows."""
