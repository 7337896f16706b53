"""`pneumo train`: fine-tune a network, then release it as a bundle.

Torch is imported when a command runs, so that listing the commands answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.errors import PneumoError

app = typer.Typer(
    no_args_is_help=True,
    help="Fine-tune VGG16 or ResNet50 on chest radiographs and release the result as a bundle.",
)

DataOption = Annotated[
    Path,
    typer.Option("--data", help="Kaggle layout: train|val / NORMAL|PNEUMONIA / *.jpeg."),
]


@app.command("fit")
def fit_command(
    architecture: Annotated[str, typer.Option(help="resnet50 or vgg16")],
    data: DataOption,
    output: Annotated[Path, typer.Option(help="Folder of this run: run.json, checkpoint.pt.")],
    pretrained: Annotated[
        str, typer.Option(help="`imagenet` (needs internet), a safetensors FILE, or `none`.")
    ] = "imagenet",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Of split, first weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
) -> None:
    """Train by the architecture's recipe; every finished epoch is kept, --resume goes on from it."""
    from training.command import run_fit

    run_fit(
        architecture=architecture,
        data=data,
        output=output,
        pretrained=pretrained,
        epochs=epochs,
        seed=seed,
        resume=resume,
        threads=threads,
    )


@app.command("release")
def release_command(
    run: Annotated[Path, typer.Argument(help="The --output folder of `fit`.")],
    data: DataOption,
    version: Annotated[str, typer.Option(help="e.g. 0.1.0; never given to other weights.")],
    output: Annotated[Path, typer.Option(help="Where the bundle's folder is made.")],
    limit: Annotated[
        list[str] | None, typer.Option(help="A sentence for the card's limits; may be repeated.")
    ] = None,
) -> None:
    """Calibrate, choose the operating point, measure, write the bundle, read it back and compare."""
    from training.command import run_release

    run_release(run, data=data, version=version, output=output, limits=limit or [])


def main() -> None:
    """`python -m training`: errors become one sentence."""
    try:
        app()
    except PneumoError as error:
        Console(stderr=True).print(Text(error.code, style="bold red"), Text(error.sentence))
        raise SystemExit(1) from None
