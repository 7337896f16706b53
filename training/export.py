"""From a finished run to a bundle that workers accept: calibrate, choose, measure, write, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.calibration import (
    OperatingPoint,
    calibrate,
    choose_operating_point,
    fit_temperature,
)
from training.card import write_card
from training.fit import begin, load_checkpoint
from training.metrics import measure, recall_by_subtype
from training.recipes import Recipe
from training.run import CHECKPOINT, Data, read_data, read_run_file
from training.stress import STRESSES
from worker.errors import Bug, Rejected
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network, build_model
from worker.model.bundle import compact, load_bundle, save_bundle
from worker.model.manifest import IntendedPopulation, Manifest

POPULATION = IntendedPopulation(
    age_years=(1.0, 5.0),
    views=("AP",),
    sentence="children of one to five years, AP chest radiographs, one hospital (Guangzhou).",
)
"""Whom the training set shows."""
BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Released:
    """A bundle that was written and read back."""

    folder: Path
    manifest: Manifest
    largest_difference: float
    """Between the logits before writing and after reading back."""


def release(
    run: Path,
    data_root: Path,
    output: Path,
    *,
    version: str,
    limits: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Released:
    """Write the bundle of a run into `output`/NAME-VERSION. Raises Rejected, Bug.

    All figures are made from the weights as the bundle has them (fp16, computed in fp32), not from
    the training's own arithmetic. `limits`: sentences that the card adds to those of every model.
    """
    about = read_run_file(run)
    spec = PreprocessingSpec()
    data = read_data(data_root, spec, seed=about["seed"], cache=run / "cache")
    model, epochs = averaged_model(run, about)
    tell("predicting the validation patients as they are and under stress")
    validation = {
        name: logits_of(model, data, data.split.validation, spec, change)
        for name, change in STRESSES.items()
    }
    labels = data.labels[data.split.validation]
    temperature = fit_temperature(next(iter(validation.values())), labels)
    by_stress = {name: calibrate(logits, temperature) for name, logits in validation.items()}
    point = choose_operating_point(labels, by_stress)
    tell("predicting the block")
    held_out = {"validation": next(iter(by_stress.values()))}
    if len(data.split.block):
        logits = logits_of(model, data, data.split.block, spec)
        held_out["block"] = calibrate(logits, temperature)
    manifest = Manifest(
        model_name=about["architecture"],
        model_version=version,
        architecture=about["architecture"],
        preprocessing=spec,
        temperature=temperature,
        threshold=point.threshold,
        threshold_rule=point.rule,
        intended_population=POPULATION,
        dataset_fingerprint=about["data"]["fingerprint"],
        metrics=figures_of(data, held_out, point),
        training={
            **{key: about[key] for key in ("seed", "commit", "recipe", "data", "pretrained")},
            "epochs_done": epochs,
            "limits": list(limits),
        },
    )
    tell("writing the bundle and reading it back")
    folder = output / f"{manifest.model_name}-{version}"
    finished = save_bundle(folder, model=model, card=write_card(manifest), manifest=manifest)
    off = difference_after_reading(folder, data, validation, spec)
    return Released(folder=folder, manifest=finished, largest_difference=off)


def averaged_model(run: Path, about: Mapping[str, Any]) -> tuple[Network, int]:
    """The averaged weights, rounded as a bundle rounds them, and how many epochs made them."""
    recipe = Recipe(
        **{**about["recipe"], "frozen_statistics": tuple(about["recipe"]["frozen_statistics"])}
    )
    state = begin(build_model(about["architecture"]), recipe)
    load_checkpoint(state, run / CHECKPOINT, about["identity"])
    rounded = {
        k: v.to(state.average.state_dict()[k].dtype)
        for k, v in compact(state.average.state_dict()).items()
    }
    state.average.load_state_dict(rounded)
    return state.average.eval(), state.epoch


def logits_of(
    model: Network,
    data: Data,
    rows: np.ndarray,
    spec: PreprocessingSpec,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> np.ndarray:
    """Logits float32 (n,) of these rows in fp32, each plane changed by `change` before."""
    logits = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            planes = torch.from_numpy(np.asarray(data.planes[rows[start : start + BATCH]]).copy())
            inputs = standardise(change(planes[:, None].float() / 255), spec)
            logits.append(model(inputs.to(memory_format=torch.channels_last)).float())
    return torch.cat(logits).numpy()


def figures_of(
    data: Data, held_out: Mapping[str, np.ndarray], point: OperatingPoint
) -> dict[str, Any]:
    """What the manifest says of each held-out part, at the threshold and at .5."""
    rows = {"validation": data.split.validation, "block": data.split.block}
    return {
        "parts": {
            part: {
                at: measure(data.labels[rows[part]], probabilities, threshold).to_dict()
                for at, threshold in (("threshold", point.threshold), ("0.5", 0.5))
            }
            for part, probabilities in held_out.items()
        },
        "recall_by_subtype": {
            part: recall_by_subtype(data.subtypes(rows[part]), probabilities, point.threshold)
            for part, probabilities in held_out.items()
        },
        "operating_points": {rule: dict(values) for rule, values in point.candidates.items()},
    }


def difference_after_reading(
    folder: Path, data: Data, validation: Mapping[str, np.ndarray], spec: PreprocessingSpec
) -> float:
    """Read the bundle as a worker does and compare its logits. Raises Bug if it says otherwise."""
    rows = data.split.validation[:64]
    again = logits_of(load_bundle(folder).model, data, rows, spec)
    off = float(np.abs(again - next(iter(validation.values()))[: len(rows)]).max())
    if not off <= 1e-3:
        raise Bug(
            "BUNDLE_SAYS_OTHERWISE",
            f"The bundle read back gives logits that are off by {off:.3g}; expected at most 0.001. "
            "It was not released; report this.",
        )
    return off


def require_data(root: Path) -> None:
    """Raise Rejected if there is no such folder."""
    if not root.is_dir():
        raise Rejected(
            "TRAINING_DATA_MISSING",
            f"There is no folder {root.name}. Give a folder in the Kaggle layout: "
            "train/NORMAL, train/PNEUMONIA and, optionally, val/… and index.csv.",
        )
