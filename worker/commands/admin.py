"""Commands for model versions, files and personal data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.commands.options import KEEP, StudyArgument, shown_by

commands = typer.Typer()
model_app = typer.Typer(no_args_is_help=True, help="List, register and select model versions.")
commands.add_typer(model_app, name="model", rich_help_panel=KEEP)


@model_app.command("list")
@shown_by("worker.screens.admin:show_models")
def model_list() -> None:
    """List the registered model versions; the active one and the shadow are marked."""


@model_app.command("register")
@shown_by("worker.screens.admin:register")
def model_register(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, as training wrote it.")],
) -> None:
    """Verify a bundle, copy it into the installation and record it."""


@model_app.command("activate")
@shown_by("worker.screens.admin:activate")
def model_activate(
    name: Annotated[str, typer.Argument(help="For example resnet50-0.2.0.")],
) -> None:
    """Predict with this version from now on; running workers follow within seconds."""


@model_app.command("shadow")
@shown_by("worker.screens.admin:set_shadow")
def model_shadow(
    name: Annotated[str, typer.Argument(help="For example vgg16-0.2.0, or `none`.")],
) -> None:
    """Let a second version predict beside the active one; it decides nothing."""


@commands.command(rich_help_panel=KEEP)
@shown_by("worker.screens.tidy:show_tidying")
def tidy(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
) -> None:
    """Remove the files of studies finished long ago, and what dead processes left behind."""


@commands.command(rich_help_panel=KEEP)
@shown_by("worker.screens.export:export_study")
def export(
    study: StudyArgument,
    deidentified: Annotated[
        bool, typer.Option("--deidentified", help="By PS3.15 Annex E; there is no other export.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Empty folder.", show_default="export-STUDY")
    ] = None,
) -> None:
    """Write de-identified copies of a study's images and results."""


@commands.command(rich_help_panel=KEEP)
@shown_by("worker.screens.erase:erase_identity_of")
def erase(
    study: Annotated[
        str | None,
        typer.Argument(help="Study key, the beginning of one, or a Study Instance UID."),
    ] = None,
    patient: Annotated[
        bool,
        typer.Option(
            "--patient",
            help="All studies of a patient, whose id is asked for or read from standard input.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase patient id and accession number of a study or a patient, and send no further result.

    Predictions and audit records stay.
    """
