"""What `pneumo train` does: read, split, begin, fit; every step a plain function of this module."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from training.board import Board
from training.checkpoint import CHECKPOINT, State
from training.configuration import Configuration, read_configuration
from training.data import remarks_on
from training.device import Place, training_place
from training.fit import Progress, Training, fit
from training.progress import progress_teller, reading_teller
from training.run import (
    CACHE,
    RUN_FILE,
    Data,
    Source,
    begin_model,
    identity_of,
    read_data,
    write_run_file,
)
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec

BOARD = "tensorboard"
STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run_train(
    *,
    architecture: str,
    source: Source,
    output: Path,
    pretrained: str,
    config: Path | None,
    seed: int,
    hold_out: str,
    resume: bool,
    threads: int,
    device: str,
) -> None:
    """Train by a configuration, with a progress bar. Raises Rejected, Transient, Resource."""
    if threads:
        torch.set_num_threads(threads)
    configuration = read_configuration(architecture, config)
    with training_place(device, configuration.batch_size) as place:
        console = Console(quiet=not place.leads)
        _require_fresh(output, resume=resume)
        model, report = begin_model(architecture, pretrained, seed)
        for sentence in report.sentences():
            console.print(sentence, highlight=False)
        with reading_teller(console) as tell_reading:
            images = read_data(
                source,
                PreprocessingSpec(),
                cache=output.parent / CACHE,
                hold_out=hold_out,
                tell=tell_reading,
            )
        for remark in remarks_on(images.pool):
            console.print(f"{remark.code}: {remark.sentence}", highlight=False)
        console.print(_split_table(images))
        if place.leads and not _is_begun(output):  # resumed, it keeps what it says of its beginning
            write_run_file(output, images, configuration, report, seed=seed, hold_out=hold_out)
        with (
            progress_teller(console, configuration.epochs) as show,
            closing(Board(output / BOARD, enabled=place.leads)) as board,
        ):

            def tell(step: Progress) -> None:
                show(step)
                board.write(step)

            training = _training(images, configuration, place, output, seed, tell)
            try:
                state = fit(model, training, resume=resume)
            except KeyboardInterrupt:
                _say_how_to_go_on(console, output)
                raise SystemExit(STOPPED) from None
        console.print(_history_table(state))
        console.print(
            f"Next: pneumo release {output} --data {source.root} --version X.Y.Z --output DIR"
        )


def _training(
    images: Data, configuration: Configuration, place: Place, folder: Path, seed: int, tell: object
) -> Training:
    held_out = images.split.validation
    return Training(
        configuration=configuration,
        train=images.part(images.split.train),
        validation=images.part(held_out) if len(held_out) else None,
        spec=PreprocessingSpec(),
        seed=seed,
        folder=folder,
        identity=identity_of(images, configuration, seed),
        place=place,
        tell=tell,  # type: ignore[arg-type]
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


def _say_how_to_go_on(console: Console, output: Path) -> None:
    kept = (output / CHECKPOINT).exists()
    console.print(
        "Stopped. The last whole epoch is kept; go on with the same command and --resume."
        if kept
        else "Stopped before the first epoch was over; nothing is kept."
    )


def _split_table(data: Data) -> Table:
    summary = data.summary()
    table = Table("part", "images", "pneumonia", title="Split by patient", title_justify="left")
    for part, count in summary["images"].items():
        table.add_row(part, str(count), str(summary["pneumonia"][part]))
    return table


def _history_table(state: State) -> Table:
    table = Table("epoch", "phase", "loss", "validation AUROC")
    for row in state.history:
        score, kept = row["validation_auroc"], " (kept)" * (row["epoch"] == state.kept_epoch)
        auroc = "-" if score is None else f"{score:.4f}"
        table.add_row(f"{row['epoch']:.0f}{kept}", row["phase"], f"{row['loss']:.4f}", auroc)
    return table
