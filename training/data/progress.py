"""A progress bar while files are read and decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from training.data.radiograph import ProgressCallback, ignore_progress


@contextmanager
def reading_progress(console: Console) -> Iterator[ProgressCallback]:
    """Give the callback that moves the bar; outside a terminal it shows nothing."""
    if not console.is_terminal:
        yield ignore_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("reading images", total=None)

        def show(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield show
