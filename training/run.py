"""A training run: what goes into it, and the folder it keeps.

RUN/run.json        architecture, seed, split, data, weights it began with, commit
RUN/checkpoint.pt   the state after the last whole epoch
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data import Radiograph, fingerprint, load_planes, read_radiographs
from training.fit import Part
from training.pretrained import PretrainedReport, load_pretrained
from training.recipes import Recipe, recipe_for
from training.splits import Split, make_split
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import Network, build_model

RUN_FILE, CHECKPOINT, CACHE = "run.json", "checkpoint.pt", "cache"


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images, their labels and who is held out."""

    radiographs: tuple[Radiograph, ...]
    """In a fixed order; row numbers of the split count in it."""
    planes: np.ndarray
    """uint8 (n, S, S), memory-mapped."""
    labels: np.ndarray
    """int64 (n,)."""
    split: Split
    """train, validation and block, by patient."""

    def part(self, rows: np.ndarray) -> Part:
        """The images of one part, in memory."""
        return Part(planes=np.asarray(self.planes[rows]), labels=self.labels[rows])

    def subtypes(self, rows: np.ndarray) -> list[str]:
        """`normal`, `bacteria` or `virus` of each row."""
        return [self.radiographs[row].subtype for row in rows]

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        parts = {"train": self.split.train, "validation": self.split.validation}
        parts["block"] = self.split.block
        return {
            "fingerprint": fingerprint(self.radiographs),
            "split_digest": self.split.digest(),
            "images": {name: len(rows) for name, rows in parts.items()},
            "pneumonia": {name: int(self.labels[rows].sum()) for name, rows in parts.items()},
        }


def read_data(root: Path, spec: PreprocessingSpec, *, seed: int, cache: Path) -> Data:
    """Read and split a folder in the Kaggle layout. Raises Rejected (see training.data)."""
    radiographs = read_radiographs(root)
    return Data(
        radiographs=radiographs,
        planes=load_planes(root, radiographs, spec, cache),
        labels=np.array([r.label for r in radiographs]),
        split=make_split(radiographs, seed),
    )


def begin_model(
    architecture: str, pretrained: str, seed: int
) -> tuple[Network, Recipe, PretrainedReport]:
    """The network before its first step: random by `seed`, then whatever the weights file has."""
    recipe = recipe_for(architecture)
    torch.manual_seed(seed)
    model = build_model(architecture)
    return model, recipe, load_pretrained(model, architecture, pretrained)


def identity_of(data: Data, recipe: Recipe) -> str:
    """What must be equal for a checkpoint to be continued: images, split and recipe."""
    return f"{fingerprint(data.radiographs)} {data.split.digest()} {recipe}"


def write_run_file(
    folder: Path, data: Data, recipe: Recipe, report: PretrainedReport, *, seed: int
) -> None:
    """Keep what a release needs to know; no path and no image goes into it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "architecture": recipe.architecture,
        "seed": seed,
        "commit": current_commit(),
        "recipe": dataclasses.asdict(recipe),
        "data": data.summary(),
        "pretrained": {"source": report.source, "report": report.sentences()},
        "identity": identity_of(data, recipe),
    }
    (folder / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n")


def read_run_file(folder: Path) -> dict[str, Any]:
    """The run file back. Raises Rejected("NOT_A_RUN")."""
    path = folder / RUN_FILE
    if not path.is_file() or not (folder / CHECKPOINT).is_file():
        raise Rejected(
            "NOT_A_RUN",
            f"The folder {folder.name} holds no {RUN_FILE} and {CHECKPOINT}. Give the --output "
            "folder of a `pneumo train fit` that finished at least one epoch.",
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def current_commit() -> str:
    """The commit that is checked out, with `-dirty` where files differ; `unknown` without git."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()
