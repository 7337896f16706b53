"""`pneumo backfill`: a bar for the days, numbers for the studies, and what it waits for."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from db.engine.session import Database
from worker.archive import backfill
from worker.archive.backfill import Backfill, Rate, Window
from worker.errors import Rejected
from worker.peers.peers_file import read_peers
from worker.screens.console import wide_console
from worker.screens.truncated_days import truncation_notice
from worker.settings import Settings

STOPPED = 130
"""What a shell says of a program that was ended by Ctrl-C."""
BAR = 20
"""Columns of the bar; where the terminal is narrow it gives way to the words."""


def backfill_and_show(
    settings: Settings,
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
    """Order a span of days; 0 when all is ordered, 1 if the archive may have more, 130 if stopped."""
    console = console or wide_console()
    archive = read_peers(settings.peers).single_with_role("search", peer)
    read_peers(settings.peers).single_with_role("retrieve", archive.name)
    wanted = Backfill(
        peer=archive,
        first=first,
        last=last,
        modalities=modalities_of(modalities),
        rate=Rate.parse(rate),
        window=Window.parse(window) if window else None,
        outstanding=outstanding,
    )
    database = Database(settings.database_url)
    bars = _Bars(console)
    try:
        with bars.screen:
            backfill.backfill(wanted, settings, database, show=bars.show)
    except KeyboardInterrupt:
        _print_end(console, bars.done, archive.name)
        console.print("Stopped. The same command goes on from here.")
        return STOPPED
    finally:
        database.dispose()
    _print_end(console, bars.done, archive.name)
    asked = "" if modalities == "CR,DX" else f" --modality {modalities}"
    console.print(
        f"What becomes of them: `pneumo coverage --from {first} --to {last}{asked}`",
        highlight=False,
        soft_wrap=True,
    )
    return 1 if bars.done.truncations else 0


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


class _Bars:
    """What moves on a terminal; into a file or a pipe goes a line for each day that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.done = backfill.BackfillProgress(days=0)
        self.screen = Progress(
            SpinnerColumn(),
            BarColumn(BAR),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self.screen.add_task("days", total=None)
        self._days_told = 0

    def show(self, progress: backfill.BackfillProgress) -> None:
        self.done = progress
        waits = f", waits for {progress.waiting_for}" if progress.waiting_for else ""
        self.screen.update(
            self._bar,
            total=progress.days,
            completed=progress.days_done,
            description=f"days  {_numbers(progress)}{waits}",
        )
        if not self._console.is_terminal and progress.days_done > self._days_told:
            self._days_told = progress.days_done
            of = f"{progress.days_done:>{len(str(progress.days))}} of {progress.days} days"
            self._console.print(f"{of}: {_numbers(progress)}", highlight=False)


def _numbers(progress: backfill.BackfillProgress) -> str:
    return f"{progress.found} found, {progress.known} known, {progress.ordered} ordered"


def _print_end(console: Console, done: backfill.BackfillProgress, peer_name: str) -> None:
    console.print(
        f"{done.days_done} of {done.days} days are done. Studies: {done.found} in {peer_name}, "
        f"{done.known} known before, {done.ordered} ordered.",
        highlight=False,
    )
    if done.truncations:
        console.print(truncation_notice(peer_name, done.truncations))
