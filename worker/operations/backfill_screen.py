"""`pneumo backfill`: a bar for the days, numbers for the studies, and what it waits for."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from db.session import Database
from worker.errors import Rejected
from worker.operations.screens import wide_console
from worker.pacs import backfilling
from worker.pacs.backfilling import Backfill, Rate, Window
from worker.peers import read_peers
from worker.settings import Settings

STOPPED = 130
"""What a shell says of a program that was ended by Ctrl-C."""


def backfill_and_show(
    site: Settings,
    *,
    first: date,
    last: date,
    modalities: str,
    rate: str,
    window: str | None,
    outstanding: int,
    peer: str | None,
    console: Console | None = None,
) -> int:
    """Order a span of days; 0 when all of it is ordered, 130 if it was stopped."""
    console = console or wide_console()
    archive = read_peers(site.peers).one_that("search", peer)
    read_peers(site.peers).one_that("retrieve", archive.name)
    wanted = Backfill(
        peer=archive,
        first=first,
        last=last,
        modalities=modalities_of(modalities),
        rate=Rate.parse(rate),
        window=Window.parse(window) if window else None,
        outstanding=outstanding,
    )
    database = Database(site.database_url)
    done = backfilling.Progress(days=0)
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=console, transient=True) as bars:
            bar = bars.add_task("", total=None)

            def show(progress: backfilling.Progress) -> None:
                nonlocal done
                done = progress
                bars.update(
                    bar, total=progress.days, completed=progress.days_done, description=_line(done)
                )

            backfilling.backfill(wanted, site, database, show=show)
    except KeyboardInterrupt:
        console.print(f"Stopped: {_line(done)}. The same command goes on from here.")
        return STOPPED
    finally:
        database.dispose()
    console.print(f"{done.days_done} of {done.days} days: {_line(done)}.")
    console.print("What becomes of them: `pneumo status`, `pneumo coverage`.")
    return 0


def modalities_of(listed: str) -> tuple[str, ...]:
    """`CR,DX` one by one; none for `all`. Raises Rejected MODALITY_INVALID."""
    words = tuple(word.strip().upper() for word in listed.split(","))
    if words == ("ALL",):
        return ()
    for word in words:
        if not (word.isalnum() and word.isascii() and len(word) <= 16):
            raise Rejected(
                "MODALITY_INVALID",
                "Modalities are defined terms separated by commas (CR,DX), or `all`.",
            )
    return words


def _line(progress: backfilling.Progress) -> str:
    waits = f", waits for {progress.waits_for}" if progress.waits_for else ""
    return (
        f"{progress.found} studies found, {progress.known} known, {progress.ordered} ordered{waits}"
    )
