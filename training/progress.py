"""Long work shown: a bar on a terminal, one line an epoch in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from training.data import Tell
from training.data.radiograph import silent
from training.fit import Progress


@contextmanager
def progress_teller(console: Console, epochs: int) -> Iterator[Callable[[Progress], None]]:
    """What to call after each step, for as long as the training runs."""
    if not console.is_terminal:
        yield _Lines(console, epochs)
        return
    with _bars(console) as bars:
        yield _Bar(bars, epochs)


@contextmanager
def reading_teller(console: Console) -> Iterator[Tell]:
    """What to call after each file that was read or decoded."""
    if not console.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("reading images", total=None)

        def tell(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield tell


class _Lines:
    """One line for each epoch, so that a log can be read."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs, self._began = console, epochs, time.monotonic()

    def __call__(self, step: Progress) -> None:
        if not step.ended:
            return
        auroc = "-" if step.validation_auroc is None else f"{step.validation_auroc:.4f}"
        minutes = (time.monotonic() - self._began) / 60
        self._console.print(
            f"epoch {step.epoch}/{self._epochs} ({step.phase}): loss {step.loss:.4f}, "
            f"validation AUROC {auroc}, {minutes:.1f} min",
            highlight=False,
        )


class _Bar:
    """Loss, AUROC, images per second and time left, in place."""

    def __init__(self, bars: Bars, epochs: int) -> None:
        self._bars, self._epochs = bars, epochs
        self._task = bars.add_task("", total=None, loss="", auroc="", rate="")

    def __call__(self, step: Progress) -> None:
        fields: dict[str, Any] = {"loss": f"loss {step.loss:.4f}"}
        if step.ended and step.validation_auroc is not None:
            fields["auroc"] = f"AUROC {step.validation_auroc:.4f}"
        if not step.ended:
            fields["rate"] = f"{step.images_per_s:.1f} images/s"
        self._bars.update(
            self._task,
            description=f"{step.phase}, epoch {step.epoch}/{self._epochs}",
            total=self._epochs * step.steps,
            completed=(step.epoch - 1) * step.steps + step.step,
            **fields,
        )


class _Fields(ProgressColumn):
    """Loss, AUROC of the last epoch, images per second."""

    def render(self, task: Task) -> Text:
        return Text("  ".join(str(task.fields[name]) for name in ("loss", "auroc", "rate")))


def _bars(console: Console) -> Bars:
    description = TextColumn("{task.description}")
    return Bars(description, BarColumn(), _Fields(), TimeRemainingColumn(), console=console)
