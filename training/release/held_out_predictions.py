"""What networks predict of images that they were not trained on: the only ground for any choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.data_set import DataSet, ImageSource
from training.data.splits import group_patients
from training.evaluate.perturbations import PERTURBATIONS, UNCHANGED
from training.evaluate.predictions import Predictions, logits_of
from training.fit.checkpoint import WEIGHTS
from training.fit.run_folder import RunFile, read_kept_model, read_run_data, read_run_file
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import Network

STRESSED = 400
"""Images of each part that are also predicted under every perturbation, at seven times the cost."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out images of one run or of several folds together."""

    predictions: Predictions
    """Of all of them (n), unchanged."""
    parts: np.ndarray
    """str (n,): validation or block."""
    stressed_rows: np.ndarray
    """int64 (k,): those that were also predicted under every perturbation."""
    stressed_logits: Mapping[str, np.ndarray]
    """Perturbation -> logits float32 (k,); the first is none."""


def predict_held_out(
    runs: Sequence[Path],
    source: ImageSource,
    spec: PreprocessingSpec,
    *,
    like: RunFile,
    on_stage: Callable[[str], None] = lambda _: None,
) -> HeldOut:
    """Predict what each run held out, plain and perturbed, and join it.

    Raises Rejected where a run is of another architecture or data set, or where nothing is held
    out, or where an image is held out twice.
    """
    pieces = []
    for run in runs:
        about = read_run_file(run)
        _require_alike(run, about, like)
        data = read_run_data(run, source, spec)
        model = read_kept_model(run, about.architecture)
        for part in ("validation", "block"):
            rows = data.split.parts()[part]
            if len(rows):
                on_stage(f"{run.name}: predicting {len(rows)} {part} images, some perturbed")
                pieces.append(_predict_part(run, model, data, part, spec))
    if not pieces:
        raise Rejected(
            "NOTHING_HELD_OUT",
            "The run was trained on every image, so nothing is left to calibrate on. Name the runs "
            "that held something out with --out-of-fold.",
        )
    joined = _join(pieces)
    names = joined.predictions.names
    if len(set(names)) < len(names):
        raise Rejected(
            "HELD_OUT_TWICE",
            "Two of the --out-of-fold runs held out the same image; expected one run for each fold.",
        )
    return joined


def _predict_part(
    run: Path, model: Network, data: DataSet, part: str, spec: PreprocessingSpec
) -> HeldOut:
    """Predict a part once for these weights; the logits are kept beside them."""
    rows = data.split.parts()[part]
    sample = np.sort(np.random.default_rng(0).permutation(len(rows))[:STRESSED])
    weights = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
    path = run / f"{part}-{weights[:16]}.npz"
    if not path.exists():
        planes = data.planes[rows]
        plain = logits_of(model, planes, spec)
        perturbed: dict[str, Any] = {
            name: logits_of(model, planes[sample], spec, change)
            for name, change in PERTURBATIONS.items()
            if name != UNCHANGED
        }
        np.savez(path, logits=plain, **{UNCHANGED: plain[sample], **perturbed})
    kept = np.load(path)
    return HeldOut(
        predictions=Predictions.of(
            [data.radiographs[row] for row in rows],
            group_patients(data.radiographs)[rows],
            kept["logits"],
        ),
        parts=np.full(len(rows), part),
        stressed_rows=sample,
        stressed_logits={name: kept[name] for name in PERTURBATIONS},
    )


def _join(pieces: Sequence[HeldOut]) -> HeldOut:
    starts = np.cumsum([0, *(len(piece.parts) for piece in pieces)])
    each = [piece.predictions for piece in pieces]
    return HeldOut(
        predictions=Predictions(
            names=tuple(name for p in each for name in p.names),
            patients=np.concatenate([p.patients for p in each]),
            subtypes=tuple(kind for p in each for kind in p.subtypes),
            labels=np.concatenate([p.labels for p in each]),
            logits=np.concatenate([p.logits for p in each]),
        ),
        parts=np.concatenate([piece.parts for piece in pieces]),
        stressed_rows=np.concatenate(
            [piece.stressed_rows + start for piece, start in zip(pieces, starts, strict=False)]
        ),
        stressed_logits={
            name: np.concatenate([piece.stressed_logits[name] for piece in pieces])
            for name in PERTURBATIONS
        },
    )


def _require_alike(run: Path, about: RunFile, like: RunFile) -> None:
    for what in ("architecture", "fingerprint"):
        if getattr(about, what) != getattr(like, what):
            raise Rejected(
                "RUN_OF_ANOTHER_KIND",
                f"The run {run.name} has another {what} than the one to be released, so its "
                "predictions are not those of that network.",
            )
