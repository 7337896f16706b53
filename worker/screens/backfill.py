"""`pneumo backfill`: a bar for the days, numbers for the studies, and what it waits for."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from worker.archive import backfill
from worker.archive.backfill import Backfill, BackfillProgress, Rate, Window
from worker.peers.peers_file import read_peers
from worker.screens.archive_days import modalities_of, truncation_notice
from worker.screens.console import counted, opened, wide_console
from worker.settings import Settings

STOPPED = 130
"""Exit code of a program that was ended by Ctrl-C, as shells have it."""
BAR = 20
"""Columns of the bar; in a narrow terminal it makes room for the words."""


def backfill_and_show(
    settings: Settings,
    *,
    first: date,
    last: date,
    modality: str,
    rate: str,
    window: str | None,
    outstanding: int,
    peer: str | None,
    console: Console | None = None,
) -> int:
    """Order a span of days; return 0 when all is ordered, 1 if the archive may have more, 130 if stopped."""
    console = console or wide_console()
    peers = read_peers(settings.peers)
    archive = peers.single_with_role("search", peer)
    peers.single_with_role("retrieve", archive.name)
    wanted = Backfill(
        peer=archive,
        first=first,
        last=last,
        modalities=modalities_of(modality),
        rate=Rate.parse(rate),
        window=Window.parse(window) if window else None,
        outstanding=outstanding,
    )
    bars, is_stopped = _Bars(console), False
    with opened(settings) as database:
        try:
            with bars.screen:
                backfill.backfill(wanted, settings, database, show=bars.show)
        except KeyboardInterrupt:
            is_stopped = True
    _print_end(console, bars.progress, archive.name)
    asked = "" if modality == "CR,DX" else f" --modality {modality}"
    console.print(
        "Stopped. Give the same command to continue from here."
        if is_stopped
        else f"To see what becomes of them: `pneumo coverage --from {first} --to {last}{asked}`",
        highlight=False,
        soft_wrap=True,
    )
    if is_stopped:
        return STOPPED
    return 1 if bars.progress.truncations else 0


class _Bars:
    """A bar on a terminal; into a file or a pipe goes a line for each day that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.progress = BackfillProgress(days=0)
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
        self._days_printed = 0

    def show(self, progress: BackfillProgress) -> None:
        self.progress = progress
        waiting = f", waiting for {progress.waiting_for}" if progress.waiting_for else ""
        self.screen.update(
            self._bar,
            total=progress.days,
            completed=progress.days_done,
            description=f"days  {_numbers(progress)}{waiting}",
        )
        if not self._console.is_terminal and progress.days_done > self._days_printed:
            self._days_printed = progress.days_done
            done = f"{progress.days_done:>{len(str(progress.days))}}"
            self._console.print(
                f"{done} of {counted(progress.days, 'day')}: {_numbers(progress)}", highlight=False
            )


def _numbers(progress: BackfillProgress) -> str:
    return f"{progress.found} found, {progress.known} known, {progress.ordered} ordered"


def _print_end(console: Console, progress: BackfillProgress, peer_name: str) -> None:
    console.print(
        f"Done: {progress.days_done} of {counted(progress.days, 'day')}. Studies: {progress.found} "
        f"in {peer_name}, {progress.known} known before, {progress.ordered} ordered.",
        highlight=False,
    )
    if progress.truncations:
        console.print(truncation_notice(peer_name, progress.truncations))
