"""What networks say of images that they did not learn from: the only ground for any choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from training.checkpoint import WEIGHTS
from training.predictions import Predictions
from training.run import Data, RunFile, Source, data_of_run, read_run_file
from training.splits import group_patients
from training.stress import STRESSES
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network, build_model
from worker.model.bundle import compact

BATCH = 32
STRESSED = 400
"""Images of each part that are also predicted under every look: six times as dear as the others."""
PLAIN = "as they are"
"""The first of the looks: no stress."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out images of one run or of several folds together."""

    predictions: Predictions
    """Of all of them (n), as they are."""
    parts: np.ndarray
    """str (n,): validation or block."""
    stressed_rows: np.ndarray
    """int64 (k,): those that were also predicted under every look."""
    by_look: Mapping[str, np.ndarray]
    """Look -> logits float32 (k,); the first is the plain one."""


def kept_model(run: Path, architecture: str) -> Network:
    """The network with the run's kept weights, rounded as a bundle rounds them."""
    model = build_model(architecture)
    own = model.state_dict()
    weights = load_file(run / WEIGHTS)
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in compact(weights).items()})
    return model.eval().requires_grad_(requires_grad=False)


def held_out_of_runs(
    runs: Sequence[Path],
    source: Source,
    spec: PreprocessingSpec,
    *,
    like: RunFile,
    tell: Callable[[str], None] = lambda _: None,
) -> HeldOut:
    """Predict what each run held out, plain and stressed, and put it together.

    Raises Rejected where a run is of another architecture or data set, or where nothing is held
    out, or where an image is held out twice.
    """
    pieces = []
    for run in runs:
        about = read_run_file(run)
        _require_alike(run, about, like)
        data = data_of_run(run, source, spec)
        model = kept_model(run, about.architecture)
        for part in ("validation", "block"):
            rows = data.split.parts()[part]
            if len(rows):
                tell(f"{run.name}: predicting {len(rows)} {part} images, some under every look")
                pieces.append(_kept_or_made(run, model, data, part, spec))
    if not pieces:
        raise Rejected(
            "NOTHING_HELD_OUT",
            "The run learnt from every image, so nothing is left to calibrate on. Name the runs "
            "that held something out with --out-of-fold.",
        )
    whole = _joined(pieces)
    names = whole.predictions.names
    if len(set(names)) < len(names):
        raise Rejected(
            "HELD_OUT_TWICE",
            "Two of the --out-of-fold runs held out the same image; expected one run for each fold.",
        )
    return whole


def logits_of(
    model: Network,
    planes: np.ndarray,
    spec: PreprocessingSpec,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> np.ndarray:
    """Logits float32 (n,) of planes uint8 (n, S, S) in fp32, each changed by `change` before.

    Computed where the model is.
    """
    device, logits = next(model.parameters()).device, []
    with torch.inference_mode():
        for start in range(0, len(planes), BATCH):
            grey = torch.from_numpy(np.array(planes[start : start + BATCH]))[:, None].float() / 255
            inputs = standardise(change(grey), spec).to(device, memory_format=torch.channels_last)
            logits.append(model(inputs).float().cpu())
    return torch.cat(logits).numpy()


def _kept_or_made(
    run: Path, model: Network, data: Data, part: str, spec: PreprocessingSpec
) -> HeldOut:
    """Predict a part once for these weights; the logits are kept beside them."""
    rows = data.split.parts()[part]
    sample = np.sort(np.random.default_rng(0).permutation(len(rows))[:STRESSED])
    weights = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
    path = run / f"{part}-{weights[:16]}.npz"
    if not path.exists():
        planes = data.planes[rows]
        logits = logits_of(model, planes, spec)
        looks: dict[str, Any] = {
            name: logits[sample] if name == PLAIN else logits_of(model, planes[sample], spec, look)
            for name, look in STRESSES.items()
        }
        np.savez(path, logits=logits, **looks)
    kept = np.load(path)
    return HeldOut(
        predictions=Predictions(
            names=tuple(data.radiographs[row].path.as_posix() for row in rows),
            patients=group_patients(data.radiographs)[rows],
            subtypes=tuple(data.subtypes(rows)),
            labels=data.labels[rows],
            logits=kept["logits"].astype(np.float64),
        ),
        parts=np.full(len(rows), part),
        stressed_rows=sample,
        by_look={name: kept[name] for name in STRESSES},
    )


def _joined(pieces: Sequence[HeldOut]) -> HeldOut:
    starts = np.cumsum([0, *(len(piece.parts) for piece in pieces)])
    given = [piece.predictions for piece in pieces]
    return HeldOut(
        predictions=Predictions(
            names=tuple(name for each in given for name in each.names),
            patients=np.concatenate([each.patients for each in given]),
            subtypes=tuple(kind for each in given for kind in each.subtypes),
            labels=np.concatenate([each.labels for each in given]),
            logits=np.concatenate([each.logits for each in given]),
        ),
        parts=np.concatenate([piece.parts for piece in pieces]),
        stressed_rows=np.concatenate(
            [piece.stressed_rows + start for piece, start in zip(pieces, starts, strict=False)]
        ),
        by_look={
            look: np.concatenate([piece.by_look[look] for piece in pieces]) for look in STRESSES
        },
    )


def _require_alike(run: Path, about: RunFile, like: RunFile) -> None:
    for what in ("architecture", "fingerprint"):
        if getattr(about, what) != getattr(like, what):
            raise Rejected(
                "RUN_OF_ANOTHER_KIND",
                f"The run {run.name} has another {what} than the one to be released. Its "
                "predictions say nothing about that network.",
            )
