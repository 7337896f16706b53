"""What `pneumo train fit` and `pneumo train release` do: the plain functions behind the commands."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from training.export import Released, release, require_data
from training.fit import Progress as Step
from training.fit import State, fit
from training.metrics import Metrics
from training.run import (
    CACHE,
    CHECKPOINT,
    RUN_FILE,
    Data,
    begin_model,
    identity_of,
    read_data,
    write_run_file,
)
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec


def run_fit(
    *,
    architecture: str,
    data: Path,
    output: Path,
    pretrained: str,
    epochs: int | None,
    seed: int,
    resume: bool,
    threads: int,
) -> None:
    """Train by the architecture's recipe, with a progress bar. Raises Rejected, Transient."""
    if threads:
        torch.set_num_threads(threads)
    console, spec = Console(), PreprocessingSpec()
    require_data(data)
    _require_fresh(output, resume=resume)
    model, recipe, report = begin_model(architecture, pretrained, seed)
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs)
    for sentence in report.sentences():
        console.print(sentence, highlight=False)
    images = read_data(data, spec, seed=seed, cache=output / CACHE)
    console.print(_split_table(images))
    if not _is_begun(output):  # a resumed run keeps what it says of its beginning
        write_run_file(output, images, recipe, report, seed=seed)
    with _bar(console) as progress:
        task = progress.add_task("", total=None, loss="", auroc="", rate="")
        state = fit(
            model,
            recipe,
            images.part(images.split.train),
            images.part(images.split.validation),
            spec=spec,
            seed=seed,
            checkpoint=output / CHECKPOINT,
            identity=identity_of(images, recipe),
            resume=resume,
            tell=_Teller(progress, task, recipe.epochs, recipe.batch_size),
        )
    console.print(_history_table(state))
    console.print(f"Next: pneumo train release {output} --data {data} --version X.Y.Z --output DIR")


def run_release(
    run: Path, *, data: Path, version: str, output: Path, limits: Sequence[str] = ()
) -> None:
    """Release a run as a bundle and print its figures. Raises Rejected, Bug."""
    console = Console()
    require_data(data)
    with console.status("starting") as status:
        released = release(run, data, output, version=version, limits=limits, tell=status.update)
    console.print(_figures_table(released))
    console.print(
        f"{released.folder.name} is released; read back, its logits differ by at most "
        f"{released.largest_difference:.1e}.\nNext: pneumo model register {released.folder}"
    )


def _require_fresh(output: Path, *, resume: bool) -> None:
    if (output / CHECKPOINT).exists() and not resume:
        raise Rejected(
            "RUN_EXISTS",
            f"The folder {output.name} holds a run already. Go on with --resume, or choose another "
            "--output.",
        )


def _is_begun(output: Path) -> bool:
    return (output / CHECKPOINT).exists() and (output / RUN_FILE).exists()


class _Teller:
    """Turns the loop's steps into a progress bar."""

    def __init__(self, progress: Progress, task: object, epochs: int, batch_size: int) -> None:
        self._progress, self._task = progress, task
        self._epochs, self._batch_size = epochs, batch_size
        self._began = time.monotonic()
        self._steps = 0
        self._auroc = ""

    def __call__(self, step: Step) -> None:
        if step.validation_auroc is None:
            self._steps += 1
        else:
            self._auroc = f"AUROC {step.validation_auroc:.4f}"
        rate = self._steps * self._batch_size / (time.monotonic() - self._began)
        self._progress.update(
            self._task,  # type: ignore[arg-type]
            description=f"epoch {step.epoch}/{self._epochs}",
            total=self._epochs * step.steps,
            completed=(step.epoch - 1) * step.steps + step.step,
            loss=f"loss {step.loss:.4f}",
            auroc=self._auroc,
            rate=f"{rate:.1f} images/s",
        )


class _Fields(ProgressColumn):
    """Loss, AUROC of the last epoch, images per second."""

    def render(self, task: Task) -> Text:
        return Text("  ".join(str(task.fields[name]) for name in ("loss", "auroc", "rate")))


def _bar(console: Console) -> Progress:
    description = TextColumn("{task.description}")
    return Progress(description, BarColumn(), _Fields(), TimeRemainingColumn(), console=console)


def _split_table(data: Data) -> Table:
    summary = data.summary()
    table = Table("part", "images", "pneumonia", title="Split by patient", title_justify="left")
    for part, count in summary["images"].items():
        table.add_row(part, str(count), str(summary["pneumonia"][part]))
    return table


def _history_table(state: State) -> Table:
    table = Table("epoch", "loss", "validation AUROC")
    for row in state.history:
        table.add_row(f"{row['epoch']:.0f}", f"{row['loss']:.4f}", f"{row['validation_auroc']:.4f}")
    return table


def _figures_table(released: Released) -> Table:
    """One row for each figure, one column for each held-out part and operating point."""
    columns = [
        (f"{part} at {at}", figures)
        for part, points in released.manifest.metrics["parts"].items()
        for at, figures in points.items()
    ]
    title = f"threshold {released.manifest.threshold:.4f}"
    table = Table("figure", *(heading for heading, _ in columns), title=title)
    for field in dataclasses.fields(Metrics):
        table.add_row(field.name, *(f"{figures[field.name]:.4g}" for _, figures in columns))
    return table
