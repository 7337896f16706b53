"""Commands that show what became of studies and of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.commands.audit import audit_app
from worker.commands.options import (
    LOOK,
    FirstDay,
    FirstFinished,
    LastDay,
    LastFinished,
    ModalityOption,
    PeerOption,
    StudyArgument,
    command_settings,
    shown_by,
)

commands = typer.Typer()
commands.add_typer(audit_app, name="audit", rich_help_panel=LOOK)


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.status:show_status")
def status() -> None:
    """Show what waits, what runs, who works, and what needs a person."""


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.study:show_study")
def show(study: StudyArgument) -> None:
    """Show one study: verdict, instances, refusals, attempts, audit records."""


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.result_files:show_results")
def results(
    study: StudyArgument,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="results-STUDY")
    ] = None,
) -> None:
    """Write a study's result as DICOM: a structured report, and captures with Grad-CAM."""


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.verify:verify_predictions")
def verify(
    prediction: Annotated[
        str, typer.Argument(help="Id of a prediction (p17), or a study as for `pneumo show`.")
    ],
    instance: Annotated[
        int | None, typer.Option(min=1, help="Only this instance of the study, by its number.")
    ] = None,
) -> None:
    """Compute predictions again from the kept files, and print whether they come out the same."""


@commands.command(rich_help_panel=LOOK)
def deliveries(
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="With --retry, --forgo: delivery keys, or the beginnings of some."),
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="List each parked delivery.")] = False,
    again: Annotated[
        bool, typer.Option("--retry", help="Retry parked deliveries: all, or those named.")
    ] = False,
    destination: Annotated[str | None, typer.Option(help="Only those to this destination.")] = None,
    code: Annotated[
        str | None, typer.Option(help="With --parked, --retry: only those with this code.")
    ] = None,
    owe: Annotated[
        bool,
        typer.Option(
            "--owe",
            help="Send the results of studies that finished before --destination was added.",
        ),
    ] = False,
    first: FirstFinished = None,
    last: LastFinished = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --owe, --forgo: only print how many.")
    ] = False,
    forgo: Annotated[
        bool,
        typer.Option(
            "--forgo",
            help="Cancel for good: keys of deliveries or studies, or all of --destination.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --forgo: do not ask.")] = False,
) -> None:
    """Show results on their way to the PACS: by destination and state, what is parked and why."""
    from worker.screens.cancel_deliveries import cancel_deliveries_and_show
    from worker.screens.deliveries import retry_deliveries, show_deliveries
    from worker.screens.past_results import enqueue_past_results_and_show

    settings, named, result = command_settings(), keys or [], 0
    if forgo:
        result = cancel_deliveries_and_show(
            settings,
            named,
            is_alone=not (again or parked or owe or first or last),
            destination=destination,
            dry_run=dry_run,
            confirm=lambda question: yes or typer.confirm(question, abort=True),
        )
    elif owe or first or last or dry_run:
        result = enqueue_past_results_and_show(
            settings,
            is_alone=owe and not (again or parked or named),
            destination=destination,
            first=first,
            last=last,
            dry_run=dry_run,
        )
    elif again:
        result = retry_deliveries(settings, named, destination=destination, code=code)
    else:
        show_deliveries(settings, parked=parked, destination=destination, code=code)
    raise typer.Exit(result)


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.report:show_report")
def report() -> None:
    """Print the analysts' views: studies, predictions, refusals by code, turn-around by priority."""


@commands.command(rich_help_panel=LOOK)
@shown_by("worker.screens.coverage:show_coverage")
def coverage(
    first: FirstDay,
    last: LastDay,
    modality: ModalityOption = "CR,DX",
    peer: PeerOption = None,
    listing: Annotated[
        Path | None,
        typer.Option("--list", help="Write the Study Instance UIDs never seen into this file."),
    ] = None,
) -> None:
    """Show what became of the PACS's studies: predicted, refused, failed, waiting, never seen."""
