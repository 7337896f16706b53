"""Commands for model versions, files and personal data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.commands.options import KEEP, StudyArgument, command_settings

commands = typer.Typer()
model_app = typer.Typer(no_args_is_help=True, help="Model versions: registered, active.")
commands.add_typer(model_app, name="model", rich_help_panel=KEEP)


@model_app.command("list")
def model_list() -> None:
    """Registered model versions; the active one is marked."""
    from worker.screens.status import show_models

    show_models(command_settings())


@model_app.command("register")
def model_register(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, as training wrote it.")],
) -> None:
    """Verify a bundle, copy it into the installation and record it."""
    from worker.screens.admin import register

    register(command_settings(), bundle)


@model_app.command("activate")
def model_activate(
    name: Annotated[str, typer.Argument(help="e.g. resnet50-0.2.0")],
) -> None:
    """Let workers predict with this version from now on; running workers follow within seconds."""
    from worker.screens.admin import activate

    activate(command_settings(), name)


@model_app.command("shadow")
def model_shadow(
    name: Annotated[str, typer.Argument(help="e.g. vgg16-0.2.0, or none")],
) -> None:
    """Let a second version predict beside the active one; it decides nothing."""
    from worker.screens.admin import set_shadow

    set_shadow(command_settings(), name)


@commands.command(rich_help_panel=KEEP)
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would leave.")] = False,
) -> None:
    """Let the files of studies finished long ago leave, and what dead processes left behind."""
    from worker.screens.tidy import show_tidying

    raise typer.Exit(show_tidying(command_settings(), dry_run=dry_run))


@commands.command(rich_help_panel=KEEP)
def erase(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a study's patient id and accession number, and send no further result of it.

    Predictions and audit stay.
    """
    from worker.screens.admin import erase_identity_of

    if not yes:
        typer.confirm("Erase patient id and accession number of this study for good?", abort=True)
    raise typer.Exit(erase_identity_of(command_settings(), study))
