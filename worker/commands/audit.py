"""Commands for the audit trail."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.commands.options import day_option, shown_by

audit_app = typer.Typer(
    no_args_is_help=True, help="Verify, sign and export the tamper-evident audit trail."
)


class ExportFormat(StrEnum):
    """How records are written."""

    JSON = "json"
    CSV = "csv"
    DICOM = "dicom"


@audit_app.command("verify")
@shown_by("worker.screens.audit:show_audit_report")
def audit_verify(
    against: Annotated[
        Path | None,
        typer.Option(help="Also compare with the signed checkpoints of this file.", dir_okay=False),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            help="Public key of the checkpoints, as `pneumo audit key` printed it.",
            show_default="that of PNEUMO_AUDIT_KEY",
        ),
    ] = None,
    chains_only: Annotated[
        bool, typer.Option("--chains-only", help="Do not compare results and bundles with it.")
    ] = False,
) -> None:
    """Recompute the hash chains and compare all results with them; exit with 1 if anything differs."""


@audit_app.command("key")
@shown_by("worker.screens.audit:make_audit_key")
def audit_key(
    file: Annotated[Path, typer.Argument(help="New file; only its owner may read it.")],
    name: Annotated[
        str, typer.Option(help="Name of the key, e.g. audit.hospital.example.")
    ] = "pneumo",
) -> None:
    """Make the key that signs checkpoints of the trail, and print its public half."""


@audit_app.command("checkpoint")
@shown_by("worker.screens.audit:print_checkpoint")
def audit_checkpoint() -> None:
    """Print a signed checkpoint of the trail as it is now."""


@audit_app.command("export")
@shown_by("worker.screens.audit:export_trail")
def audit_export(
    format: Annotated[ExportFormat, typer.Option(help="How records are written.")] = (  # noqa: A002  the option's name
        ExportFormat.JSON
    ),
    output: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
    first: Annotated[
        date | None, day_option("--from", "Recorded on this day (UTC) or later.")
    ] = None,
    last: Annotated[
        date | None, day_option("--to", "Recorded on this day (UTC) or earlier.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Only records of this study.")] = None,
    send: Annotated[
        bool, typer.Option("--send", help="With --format dicom: send them to the collector.")
    ] = False,
) -> None:
    """Write the trail as JSON lines, CSV, or DICOM audit messages (PS3.15 A.5), one a line."""
