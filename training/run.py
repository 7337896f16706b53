"""A training run: what goes into it, and the folder it keeps.

RUN/run.json              architecture, configuration, seed, data, split, first weights, commit
RUN/split.csv             who was learnt from and who was held out
RUN/checkpoint.pt         the state after the last whole epoch
RUN/weights.safetensors   the averaged weights of the kept epoch
RUN/../cache             decoded images, shared by the runs beside one another
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.checkpoint import CHECKPOINT, WEIGHTS
from training.configuration import Configuration
from training.data import Pool, Radiograph, Tell, fingerprint, load_pool, read_pool
from training.data.radiograph import silent
from training.fit import Part
from training.pretrained import PretrainedReport, load_pretrained
from training.split_file import read_split, write_split
from training.splits import Split, make_split
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import Network, build_model

RUN_FILE, SPLIT_FILE, CACHE = "run.json", "split.csv", "cache"
SPLIT_SEED = 0
"""The held-out patients are the same for every seed of a training, or seeds would not compare."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where images and labels come from, as the command line gives it."""

    root: Path
    """Class folders, or DICOM files."""
    labels: Path | None = None
    """CSV of a DICOM folder's labels."""
    groups: Path | None = None
    """CSV of patients, where file names do not tell them."""
    strict: bool = False
    """Whether a file that cannot be read ends the command."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images, their labels and who is held out."""

    pool: Pool
    """Every readable image; row numbers of the split count in it."""
    planes: np.ndarray
    """uint8 (n, S, S), memory-mapped."""
    split: Split
    """train, validation and block, by patient."""

    @property
    def radiographs(self) -> tuple[Radiograph, ...]:
        """In a fixed order."""
        return self.pool.radiographs

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,)."""
        return np.array([r.label for r in self.radiographs])

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


def read_data(
    source: Source,
    spec: PreprocessingSpec,
    *,
    cache: Path,
    hold_out: str = "validation",
    split_file: Path | None = None,
    tell: Tell = silent,
) -> Data:
    """Read, decode and split. Raises Rejected, Resource (see training.data).

    `split_file`: take the split from there and prove that it is one of these images.
    """
    pool = read_pool(
        source.root, labels=source.labels, groups=source.groups, strict=source.strict, tell=tell
    )
    pool, planes = load_pool(pool, spec, cache, strict=source.strict, tell=tell)
    if split_file is not None:
        split = read_split(split_file, pool.radiographs)
    else:
        split = make_split(pool.radiographs, SPLIT_SEED, hold_out)
    return Data(pool=pool, planes=planes, split=split)


def data_of_run(run: Path, source: Source, spec: PreprocessingSpec, tell: Tell = silent) -> Data:
    """The images that a run was given, split as it was told to. Raises Rejected where they differ."""
    return read_data(source, spec, cache=run.parent / CACHE, split_file=run / SPLIT_FILE, tell=tell)


def begin_model(architecture: str, pretrained: str, seed: int) -> tuple[Network, PretrainedReport]:
    """The network before its first step: random by `seed`, then whatever the weights file has."""
    torch.manual_seed(seed)
    model = build_model(architecture)
    return model, load_pretrained(model, architecture, pretrained)


def identity_of(data: Data, configuration: Configuration, seed: int) -> str:
    """What must be equal for a checkpoint to be continued: images, split, configuration, seed."""
    values = json.dumps(configuration.to_dict(), sort_keys=True)
    parts = [fingerprint(data.radiographs), data.split.digest(), values, str(seed)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def write_run_file(
    folder: Path,
    data: Data,
    configuration: Configuration,
    report: PretrainedReport,
    *,
    seed: int,
    hold_out: str,
) -> None:
    """Keep what a release needs to know, and the split; no path and no image goes into it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "architecture": configuration.architecture,
        "seed": seed,
        "hold_out": hold_out,
        "commit": current_commit(),
        "configuration": configuration.to_dict(),
        "data": data.summary(),
        "pretrained": {"source": report.source, "report": report.sentences()},
        "identity": identity_of(data, configuration, seed),
    }
    write_split(folder / SPLIT_FILE, data.radiographs, data.split)
    (folder / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What run.json says."""

    architecture: str
    """Which network."""
    seed: int
    """Of first weights, order and augmentation."""
    hold_out: str
    """What was kept from the network: validation, fold-N or none."""
    facts: Mapping[str, Any]
    """All of it, for the manifest."""

    @property
    def fingerprint(self) -> str:
        """Of the images."""
        return str(self.facts["data"]["fingerprint"])


def read_run_file(folder: Path) -> RunFile:
    """The run file back. Raises Rejected("NOT_A_RUN")."""
    path = folder / RUN_FILE
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise Rejected(
            "NOT_A_RUN",
            f"The folder {folder.name} holds no {RUN_FILE} and {WEIGHTS}. Give the --output "
            "folder of a `pneumo train` that finished at least one epoch.",
        )
    facts: dict[str, Any] = json.loads(path.read_text())
    return RunFile(
        architecture=facts["architecture"],
        seed=facts["seed"],
        hold_out=facts["hold_out"],
        facts=facts,
    )


def history_of(folder: Path) -> list[dict[str, Any]]:
    """One row for each epoch: phase, loss, validation AUROC."""
    content = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu", mmap=True)
    rows: list[dict[str, Any]] = content["history"]
    return rows


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
