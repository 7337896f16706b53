"""What `pneumo release` does: release a run as a bundle and print its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from training.metrics import Metrics
from training.release import Released, release
from training.run import Source


def run_release(
    run: Path,
    *,
    source: Source,
    version: str,
    output: Path,
    out_of_fold: Sequence[Path] = (),
    role: str = "",
    limits: Sequence[str] = (),
    others: Sequence[Path] = (),
    threads: int = 0,
) -> None:
    """Release a run as a bundle and print its figures. Raises Rejected, Bug."""
    if threads:
        torch.set_num_threads(threads)
    console = Console()
    with console.status("starting") as status:
        released = release(
            run,
            source,
            output,
            version=version,
            out_of_fold=out_of_fold,
            role=role,
            limits=limits,
            others=others,
            tell=status.update,
        )
    console.print(_figures_table(released))
    console.print(_guard_table(released))
    console.print(
        f"{released.folder.name} is released; read back, its logits differ by at most "
        f"{released.largest_difference:.1e}.\nNext: pneumo model register {released.folder}"
    )


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


def _guard_table(released: Released) -> Table:
    """What the wrong-image guard refuses, kind by kind."""
    table = Table("pictures", "count", "refused", title="Wrong-image guard", title_justify="left")
    for kind, figures in released.manifest.metrics["wrong_image_guard"].items():
        table.add_row(kind, f"{figures['images']:.0f}", f"{figures['refused']:.1%}")
    return table
