"""The progress of a training: a bar on a terminal, one line an epoch in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What the loop reports after each step, and again at the end of an epoch."""

    phase: str
    """The phase's name."""
    epoch: int
    """From 1."""
    step: int
    """From 1, within the epoch."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Running mean of this epoch."""
    epoch_ended: bool = False
    """Whether the epoch is over and its checkpoint on disk."""
    validation_auroc: float | None = None
    """Of the averaged weights, after an epoch; None where nothing is held out."""
    images_per_s: float = 0.0
    """Of this epoch so far, over all processes."""


@contextmanager
def training_progress(
    console: Console, epochs: int
) -> Iterator[Callable[[TrainingProgress], None]]:
    """Give the callback that shows each step, for as long as the training runs."""
    if not console.is_terminal:
        yield _EpochLines(console, epochs)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        yield _Bar(bars, epochs)


class _EpochLines:
    """One line for each epoch, so that a log can be read."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs, self._began = console, epochs, time.monotonic()

    def __call__(self, step: TrainingProgress) -> None:
        if not step.epoch_ended:
            return
        auroc = "-" if step.validation_auroc is None else f"{step.validation_auroc:.4f}"
        minutes = (time.monotonic() - self._began) / 60
        self._console.print(
            f"epoch {step.epoch}/{self._epochs} ({step.phase}): loss {step.loss:.4f}, "
            f"validation AUROC {auroc}, {minutes:.1f} min",
            highlight=False,
        )


class _Bar:
    """Loss, AUROC of the last epoch, images per second and time left, in place."""

    def __init__(self, bars: Progress, epochs: int) -> None:
        self._bars, self._epochs, self._auroc = bars, epochs, ""
        self._task = bars.add_task("", total=None, figures="")

    def __call__(self, step: TrainingProgress) -> None:
        if step.validation_auroc is not None:
            self._auroc = f"AUROC {step.validation_auroc:.4f}  "
        self._bars.update(
            self._task,
            description=f"{step.phase}, epoch {step.epoch}/{self._epochs}",
            total=self._epochs * step.steps,
            completed=(step.epoch - 1) * step.steps + step.step,
            figures=f"loss {step.loss:.4f}  {self._auroc}{step.images_per_s:.1f} images/s",
        )
