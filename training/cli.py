"""`pneumo train`, `evaluate`, `compare` and `release`: thin commands over plain functions.

Torch is imported when a command runs, so that listing the commands answers at once. Under
torchrun: `torchrun --nproc-per-node 4 -m training train --architecture resnet50 --data DIR`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.errors import PneumoError

if TYPE_CHECKING:
    from training.data.data_set import ImageSource

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="train|val|test / NORMAL|PNEUMONIA / *.jpeg, or DICOM files with --labels.",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="CSV of a DICOM folder: one row for each image, or for each box (RSNA)."),
]
GroupsOption = Annotated[
    Path | None, typer.Option(help="CSV file,patient where file names do not name the patient.")
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="End the command at an unreadable image, instead of naming it."),
]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")]


class Architecture(StrEnum):
    """The networks that `train` makes."""

    VGG16 = "vgg16"
    RESNET50 = "resnet50"


class EvaluationSplit(StrEnum):
    """Which images `evaluate` measures."""

    VALIDATION = "validation"
    BLOCK = "block"
    TEST = "test"


class ComparisonSplit(StrEnum):
    """Which images `compare` measures."""

    DEVELOPMENT = "development"
    TEST = "test"


class Role(StrEnum):
    """What a packaged bundle is on a new installation."""

    NONE = ""
    DEFAULT = "default"
    SHADOW = "shadow"


def train(
    architecture: Annotated[Architecture, typer.Option(help="Which network.")],
    data: DataOption,
    output: Annotated[
        Path | None, typer.Option(help="Folder of this run.  [default: runs/ARCHITECTURE]")
    ] = None,
    pretrained: Annotated[
        str, typer.Option(help="imagenet (needs internet), a safetensors FILE, or none.")
    ] = "imagenet",
    config: Annotated[
        Path | None, typer.Option(help="A TOML file such as those in training/configs/.")
    ] = None,
    hold_out: Annotated[
        str, typer.Option(help="validation (with the block), fold-1 .. fold-5, or none.")
    ] = "validation",
    seed: Annotated[int, typer.Option(help="Of first weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch.")] = False,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    strict: StrictOption = False,
    threads: ThreadsOption = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Fine-tune VGG16 or ResNet50; every finished epoch is kept, --resume goes on from it."""
    from training.fit import train as fit_train

    _use_threads(threads)
    fit_train.train(
        architecture.value,
        _source(data, labels, groups, strict=strict),
        output or Path("runs", architecture.value),
        pretrained=pretrained,
        config=config,
        hold_out=hold_out,
        seed=seed,
        resume=resume,
        device=device,
    )


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    data: DataOption,
    split: Annotated[
        EvaluationSplit, typer.Option(help="test: the folder test/ of the data.")
    ] = EvaluationSplit.VALIDATION,
    output: Annotated[
        Path | None, typer.Option(help="Folder for JSON, CSV and HTML.  [default: reports/…]")
    ] = None,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    strict: StrictOption = False,
    threads: ThreadsOption = 0,
) -> None:
    """Measure accuracy, precision, recall, F1 and more, with intervals: table, JSON and HTML."""
    from training.report.evaluation_report import report_evaluation

    _use_threads(threads)
    report_evaluation(
        bundle,
        _source(data, labels, groups, strict=strict),
        split.value,
        output or Path("reports", f"{bundle.name}-{split.value}"),
    )


def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    second: Annotated[Path, typer.Argument(help="The folder of another.")],
    data: DataOption,
    split: Annotated[
        ComparisonSplit, typer.Option(help="development: validation and block.")
    ] = ComparisonSplit.DEVELOPMENT,
    output: Annotated[
        Path | None, typer.Option(help="Folder for JSON and HTML.  [default: reports/…]")
    ] = None,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    strict: StrictOption = False,
    threads: ThreadsOption = 0,
) -> None:
    """Compare two networks by paired tests and a stated rule, which says so when it is noise."""
    from training.report.comparison_report import report_comparison

    _use_threads(threads)
    report_comparison(
        first,
        second,
        _source(data, labels, groups, strict=strict),
        split.value,
        output or Path("reports", f"{first.name}-and-{second.name}"),
    )


def release(
    run: Annotated[Path, typer.Argument(help="The --output folder of `pneumo train`.")],
    data: DataOption,
    version: Annotated[str, typer.Option(help="e.g. 1.0.0; never given to other weights.")],
    output: Annotated[Path, typer.Option(help="Where the bundle's folder is made.")],
    out_of_fold: Annotated[
        list[Path] | None,
        typer.Option(help="Run whose held-out predictions calibrate; repeat for each fold."),
    ] = None,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of pictures that are no chest, to count what the guard refuses."),
    ] = None,
    role: Annotated[
        Role, typer.Option(help="Its role on a new installation, if it is packaged.")
    ] = Role.NONE,
    limit: Annotated[
        list[str] | None, typer.Option(help="A sentence for the card's limits; may be repeated.")
    ] = None,
    threads: ThreadsOption = 0,
) -> None:
    """Calibrate, choose the operating point, measure, write the bundle, read it back and compare."""
    from training.release import release as bundle_release

    _use_threads(threads)
    bundle_release.release(
        run,
        _source(data, labels, groups),
        output,
        version=version,
        out_of_fold=out_of_fold or [],
        role=role.value,
        limits=limit or [],
        others=others or [],
    )


def _source(
    data: Path, labels: Path | None, groups: Path | None, *, strict: bool = False
) -> ImageSource:
    from training.data.data_set import ImageSource

    return ImageSource(root=data, labels=labels, groups=groups, strict=strict)


def _use_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


COMMANDS = (train, evaluate, compare, release)


def main() -> None:
    """`python -m training`: errors become one sentence."""
    app = typer.Typer(no_args_is_help=True)
    for command in COMMANDS:
        app.command()(command)
    try:
        app()
    except PneumoError as error:
        Console(stderr=True).print(Text(error.code, style="bold red"), Text(error.sentence))
        raise SystemExit(1) from None
