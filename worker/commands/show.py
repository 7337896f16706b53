"""Commands that show what came of studies, and what became of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    confirm,
)

commands = typer.Typer()
audit_app = typer.Typer(no_args_is_help=True, help="The tamper-evident record of what was done.")
commands.add_typer(audit_app, name="audit", rich_help_panel=LOOK)


@commands.command(rich_help_panel=LOOK)
def status() -> None:
    """What waits, what runs, who works, what needs a person."""
    from worker.screens.status import show_status

    show_status(command_settings())


@commands.command(rich_help_panel=LOOK)
def show(study: StudyArgument) -> None:
    """One study: verdict, instances, refusals, attempts, audit records."""
    from worker.screens.study import show_study

    raise typer.Exit(show_study(command_settings(), study))


@commands.command(rich_help_panel=LOOK)
def results(
    study: StudyArgument,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the files.  [default: results-STUDY]")
    ] = None,
) -> None:
    """Write a study's result as DICOM: a structured report, and captures with Grad-CAM."""
    from worker.screens.result_files import show_results

    raise typer.Exit(show_results(command_settings(), study, output))


@commands.command(rich_help_panel=LOOK)
def deliveries(
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="With --retry, --forgo: delivery keys (or beginnings)."),
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="List each parked one.")] = False,
    again: Annotated[
        bool, typer.Option("--retry", help="Send parked ones round again: all, or those named.")
    ] = False,
    destination: Annotated[str | None, typer.Option(help="Only of this destination.")] = None,
    owe: Annotated[
        bool,
        typer.Option(
            "--owe", help="Send results of studies that finished before --destination was named."
        ),
    ] = False,
    first: FirstFinished = None,
    last: LastFinished = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --owe, --forgo: only say how many.")
    ] = False,
    forgo: Annotated[
        bool,
        typer.Option(
            "--forgo",
            help="Never send those named: keys of deliveries or studies, a --destination.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --forgo: do not ask.")] = False,
) -> None:
    """Results on their way to the PACS: by destination and state, what is parked and why."""
    from worker.screens.deliveries import retry_deliveries, show_deliveries

    if forgo:
        from worker.screens.cancel_deliveries import cancel_deliveries_and_show

        raise typer.Exit(
            cancel_deliveries_and_show(
                command_settings(),
                keys or [],
                asked=not (again or parked or owe or first or last),
                destination=destination,
                dry_run=dry_run,
                sure=lambda words: None if yes else confirm(words),
            )
        )
    if owe or first or last or dry_run:
        from worker.screens.past_results import enqueue_past_results_and_show

        raise typer.Exit(
            enqueue_past_results_and_show(
                command_settings(),
                asked=owe and not (again or parked or keys),
                destination=destination,
                first=first.date() if first else None,
                last=last.date() if last else None,
                dry_run=dry_run,
            )
        )
    if again:
        raise typer.Exit(retry_deliveries(command_settings(), keys or [], destination=destination))
    show_deliveries(command_settings(), parked=parked, destination=destination)


@commands.command(rich_help_panel=LOOK)
def report() -> None:
    """The analysts' views: studies, predictions, refusals by code, turn-around by priority."""
    from worker.screens.report import show_report

    show_report(command_settings())


@commands.command(rich_help_panel=LOOK)
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
    """Of what the PACS has: predicted, refused and why, failed, waiting, never seen."""
    from worker.screens.coverage import show_coverage

    raise typer.Exit(
        show_coverage(
            command_settings(),
            first=first.date(),
            last=last.date(),
            modalities=modality,
            peer=peer,
            listing=listing,
        )
    )


@audit_app.command("verify")
def audit_verify() -> None:
    """Recompute the hash chain; names the first record that does not fit and exits with 1."""
    from worker.screens.status import show_audit_report

    raise typer.Exit(show_audit_report(command_settings()))
