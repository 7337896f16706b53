"""Commands by which studies come in: files, a folder, an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from db.vocabulary.enums import Priority
from worker.commands.options import (
    SEND,
    FirstDay,
    LastDay,
    ModalityOption,
    PeerOption,
    PriorityOption,
    TimeoutOption,
    WaitOption,
    command_settings,
    service_settings,
    shown_by,
)

commands = typer.Typer()


@commands.command(rich_help_panel=SEND)
def enqueue(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files, or folders of them.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="What the studies consist of (JSON, or DICOM Key Objects); what is missing is waited for."
        ),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(help="Instead of files: base URL of a DICOMweb server, asked by WADO-RS."),
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="With --dicomweb: Study Instance UID; may be repeated.")
    ] = None,
    priority: PriorityOption = Priority.ROUTINE,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Accept DICOM files; the files of one study become one study, whatever their names.

    Or have studies fetched from a DICOMweb server: --dicomweb URL --study UID.
    """
    if bool(paths or manifest) == bool(dicomweb) or bool(dicomweb) != bool(study):
        raise typer.BadParameter("give files or folders, or --dicomweb URL with --study UID")
    from worker.screens.submit import enqueue_files, order_studies

    settings, wait_s = command_settings(), timeout if wait else None
    raise typer.Exit(
        order_studies(settings, study or [], dicomweb=dicomweb, priority=priority, wait_s=wait_s)
        if dicomweb
        else enqueue_files(
            settings, paths or [], manifest=manifest, priority=priority, wait_s=wait_s
        )
    )


@commands.command(rich_help_panel=SEND)
def pull(
    study: Annotated[
        list[str], typer.Option(help="Study Instance UID; may be repeated.", show_default=False)
    ],
    peer: Annotated[
        str | None,
        typer.Option(help="Archive in the file of peers.", show_default="the one with `retrieve`"),
    ] = None,
    from_peer: Annotated[
        str | None, typer.Option(hidden=True, help="What --peer was called up to 0.2.0.")
    ] = None,
    priority: PriorityOption = Priority.ROUTINE,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Have studies fetched from the PACS: by C-GET, C-MOVE or WADO-RS, as PNEUMO_PEERS says."""
    from worker.screens.submit import order_studies

    raise typer.Exit(
        order_studies(
            command_settings(),
            study,
            peer=peer or from_peer,
            priority=priority,
            wait_s=timeout if wait else None,
        )
    )


@commands.command(rich_help_panel=SEND)
@shown_by("worker.screens.backfill:backfill_and_show")
def backfill(
    first: FirstDay,
    last: LastDay,
    modality: ModalityOption = "CR,DX",
    rate: Annotated[
        str, typer.Option(help="Order at most so many studies: 30/min, 2/s, 500/h.")
    ] = "30/min",
    window: Annotated[
        str | None, typer.Option(help="Only at these hours, for example 20:00-06:00.")
    ] = None,
    outstanding: Annotated[
        int, typer.Option(min=1, help="Most ordered studies that may wait or run at once.")
    ] = 50,
    peer: PeerOption = None,
) -> None:
    """Have all studies of these days fetched that the PACS has and that are not known here.

    After Ctrl-C the same command continues where it stopped.
    """


@commands.command(rich_help_panel=SEND)
def watch(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to watch.", show_default="PNEUMO_WATCH_FOLDER")
    ] = None,
) -> None:
    """Accept DICOM files that are put into a folder, until stopped; accepted files are removed from it."""
    from worker.intake.watch_loop import run

    run(service_settings(), folder)
