"""The folder of a training run.

RUN/run.json              architecture, configuration, seed, data, split, first weights, commit
RUN/split.csv             which image was in which part (training.data.split_file)
RUN/checkpoint.pt         the state after the last whole epoch (training.fit.checkpoint)
RUN/weights.safetensors   the averaged weights of the kept epoch
RUN/../cache              decoded images, shared by the runs beside one another
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from training.data.data_set import CACHE, DataSet, ImageSource, read_data_set
from training.data.radiograph import fingerprint
from training.data.split_file import SPLIT_FILE, write_split
from training.fit.checkpoint import WEIGHTS
from training.fit.configuration import Configuration
from training.fit.pretrained import PretrainedReport, load_pretrained
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import Network, build_model
from worker.model.bundle import compact

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """The content of run.json."""

    architecture: str
    """Which network."""
    fingerprint: str
    """Of the images."""
    facts: Mapping[str, Any]
    """All of it, for the manifest."""


def initial_model(
    architecture: str, pretrained: str, seed: int
) -> tuple[Network, PretrainedReport]:
    """The network before its first step: random by `seed`, then whatever the weights file has."""
    torch.manual_seed(seed)
    model = build_model(architecture)
    return model, load_pretrained(model, architecture, pretrained)


def run_identity(data: DataSet, configuration: Configuration, seed: int) -> str:
    """What must be equal for a checkpoint to be continued: images, split, configuration, seed."""
    values = json.dumps(configuration.to_dict(), sort_keys=True)
    parts = [fingerprint(data.radiographs), data.split.digest(), values, str(seed)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def write_run_file(
    folder: Path,
    data: DataSet,
    configuration: Configuration,
    report: PretrainedReport,
    *,
    seed: int,
    hold_out: str,
) -> None:
    """Record what a release needs to know, and the split; no path and no image goes into it."""
    content = {
        "architecture": configuration.architecture,
        "seed": seed,
        "hold_out": hold_out,
        "commit": current_commit(),
        "configuration": configuration.to_dict(),
        "data": data.summary(),
        "pretrained": {"source": report.source, "report": report.sentences()},
        "identity": run_identity(data, configuration, seed),
    }
    write_split(folder / SPLIT_FILE, data.radiographs, data.split)
    (folder / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n")


def read_run_file(folder: Path) -> RunFile:
    """Read run.json. Raises Rejected("NOT_A_RUN")."""
    path = folder / RUN_FILE
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise Rejected(
            "NOT_A_RUN",
            f"The folder {folder.name} holds no {RUN_FILE} and {WEIGHTS}. Give the --output "
            "folder of a `pneumo train` that finished at least one epoch.",
        )
    facts: dict[str, Any] = json.loads(path.read_text())
    return RunFile(
        architecture=facts["architecture"], fingerprint=facts["data"]["fingerprint"], facts=facts
    )


def read_run_data(run: Path, source: ImageSource, spec: PreprocessingSpec) -> DataSet:
    """The images of a run, split as it split them. Raises Rejected where they differ."""
    return read_data_set(source, spec, cache=run.parent / CACHE, split_file=run / SPLIT_FILE)


def read_kept_model(run: Path, architecture: str) -> Network:
    """The network with the run's kept weights, rounded as a bundle rounds them."""
    model = build_model(architecture)
    own = model.state_dict()
    weights = load_file(run / WEIGHTS)
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in compact(weights).items()})
    return model.eval().requires_grad_(requires_grad=False)


def current_commit() -> str:
    """The commit that is checked out, with `-dirty` where files differ; `unknown` without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
