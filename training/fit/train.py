"""What `pneumo train` does: read, split, begin, fit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from training.data.data_set import CACHE, DataSet, ImageSource, read_data_set
from training.data.progress import reading_progress
from training.data.quality import quality_issues
from training.fit.checkpoint import CHECKPOINT, TrainingState
from training.fit.configuration import read_configuration
from training.fit.device import training_device
from training.fit.loop import Training, fit
from training.fit.progress import TrainingProgress, training_progress
from training.fit.run_folder import RUN_FILE, initial_model, run_identity, write_run_file
from training.fit.tensorboard_log import TensorBoardLog
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec

TENSORBOARD = "tensorboard"
STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


def train(
    architecture: str,
    source: ImageSource,
    output: Path,
    *,
    pretrained: str,
    config: Path | None,
    hold_out: str,
    seed: int,
    resume: bool,
    device: str,
) -> None:
    """Train by a configuration, with a progress bar. Raises Rejected, Transient, Resource."""
    configuration, spec = read_configuration(architecture, config), PreprocessingSpec()
    with training_device(device, configuration.batch_size) as process:
        console = Console(quiet=not process.is_main)
        _require_fresh(output, resume=resume)
        model, report = initial_model(architecture, pretrained, seed)
        for sentence in report.sentences():
            console.print(sentence, highlight=False)
        with reading_progress(console) as on_progress:
            data = read_data_set(
                source,
                spec,
                cache=output.parent / CACHE,
                hold_out=hold_out,
                on_progress=on_progress,
            )
        for issue in quality_issues(data.pool):
            console.print(f"{issue.code}: {issue.sentence}", highlight=False)
        console.print(_split_table(data))
        if process.is_main and not _has_begun(
            output
        ):  # a resumed run keeps the record of its start
            write_run_file(output, data, configuration, report, seed=seed, hold_out=hold_out)
        with (
            training_progress(console, configuration.epochs) as show,
            closing(TensorBoardLog(output / TENSORBOARD, enabled=process.is_main)) as log,
        ):

            def on_step(step: TrainingProgress) -> None:
                show(step)
                log.write(step)

            validation = data.split.validation
            training = Training(
                configuration=configuration,
                train=data.part(data.split.train),
                validation=data.part(validation) if len(validation) else None,
                spec=spec,
                seed=seed,
                folder=output,
                identity=run_identity(data, configuration, seed),
                device=process,
                on_step=on_step,
            )
            try:
                state = fit(model, training, resume=resume)
            except KeyboardInterrupt:
                _explain_resuming(console, output)
                raise SystemExit(STOPPED) from None
        console.print(_history_table(state))
        console.print(
            f"Next: pneumo release {output} --data {source.root} --version X.Y.Z --output DIR"
        )


def _require_fresh(output: Path, *, resume: bool) -> None:
    if (output / CHECKPOINT).exists() and not resume:
        raise Rejected(
            "RUN_EXISTS",
            f"The folder {output.name} holds a run already. Go on with --resume, or choose another "
            "--output.",
        )


def _has_begun(output: Path) -> bool:
    return (output / CHECKPOINT).exists() and (output / RUN_FILE).exists()


def _explain_resuming(console: Console, output: Path) -> None:
    console.print(
        "Stopped. The last whole epoch is kept; go on with the same command and --resume."
        if (output / CHECKPOINT).exists()
        else "Stopped before the first epoch was over; nothing is kept."
    )


def _split_table(data: DataSet) -> Table:
    table = Table("part", "images", "pneumonia", title="Split by patient", title_justify="left")
    for part, rows in data.split.parts().items():
        table.add_row(part, str(len(rows)), str(data.labels[rows].sum()))
    return table


def _history_table(state: TrainingState) -> Table:
    table = Table("epoch", "phase", "loss", "validation AUROC")
    for row in state.history:
        score, kept = row["validation_auroc"], " (kept)" * (row["epoch"] == state.kept_epoch)
        auroc = "-" if score is None else f"{score:.4f}"
        table.add_row(f"{row['epoch']:.0f}{kept}", row["phase"], f"{row['loss']:.4f}", auroc)
    return table
