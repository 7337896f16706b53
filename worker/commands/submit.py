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
)

commands = typer.Typer()


@commands.command(rich_help_panel=SEND)
def enqueue(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files, or folders of them.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="What the studies consist of (JSON, or DICOM Key Objects): waited for."),
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
    """Take DICOM files over; files of one study become one study, however they are named.

    Or have studies fetched from a DICOMweb server: --dicomweb URL --study UID.
    """
    if bool(paths or manifest) == bool(dicomweb) or bool(dicomweb) != bool(study):
        raise typer.BadParameter("give files or folders, or --dicomweb URL with --study UID")
    if dicomweb:
        from worker.screens.order import order_and_show

        raise typer.Exit(
            order_and_show(
                command_settings(),
                study or [],
                dicomweb=dicomweb,
                priority=priority,
                wait_s=timeout if wait else None,
            )
        )
    from worker.screens.enqueue import enqueue_and_show

    raise typer.Exit(
        enqueue_and_show(
            command_settings(),
            paths or [],
            manifest=manifest,
            priority=priority,
            wait_s=timeout if wait else None,
        )
    )


@commands.command(rich_help_panel=SEND)
def pull(
    study: Annotated[
        list[str], typer.Option(help="Study Instance UID; may be repeated.", show_default=False)
    ],
    from_peer: Annotated[
        str | None,
        typer.Option(help="Archive in the file of peers.  [default: the one with `retrieve`]"),
    ] = None,
    priority: PriorityOption = Priority.ROUTINE,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Have studies fetched from the PACS: by C-GET, C-MOVE or WADO-RS, as PNEUMO_PEERS says."""
    from worker.screens.order import order_and_show

    raise typer.Exit(
        order_and_show(
            command_settings(),
            study,
            peer=from_peer,
            priority=priority,
            wait_s=timeout if wait else None,
        )
    )


@commands.command(rich_help_panel=SEND)
def backfill(
    first: FirstDay,
    last: LastDay,
    modality: ModalityOption = "CR,DX",
    rate: Annotated[str, typer.Option(help="Most studies ordered: 30/min, 2/s, 500/h.")] = "30/min",
    window: Annotated[
        str | None, typer.Option(help="Only at these hours, e.g. 20:00-06:00.")
    ] = None,
    outstanding: Annotated[
        int, typer.Option(min=1, help="So many ordered studies may wait or run at once.")
    ] = 50,
    peer: PeerOption = None,
) -> None:
    """Have everything fetched that the PACS has of these days and that is not known here.

    Ctrl-C and the same command again: it goes on where it was.
    """
    from worker.screens.backfill import backfill_and_show

    raise typer.Exit(
        backfill_and_show(
            command_settings(),
            first=first.date(),
            last=last.date(),
            modalities=modality,
            rate=rate,
            window=window,
            outstanding=outstanding,
            peer=peer,
        )
    )


@commands.command(rich_help_panel=SEND)
def watch(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to watch.  [default: PNEUMO_WATCH_FOLDER]")
    ] = None,
) -> None:
    """Take over DICOM files that are put into a folder, until stopped; taken files leave it."""
    from worker.intake.watch_loop import run

    run(service_settings(), folder)
