"""From a finished run to a bundle that workers accept: calibrate, choose, measure, write, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.calibration import (
    Calibration,
    OperatingPoint,
    choose_operating_point,
    cross_fitted,
    fit_calibration,
)
from training.card import write_card
from training.held_out import HeldOut, held_out_of_runs, kept_model, logits_of
from training.intervals import bootstrap_intervals
from training.metrics import expected_calibration_error, measure, recall_by_subtype
from training.reference import fit_reference
from training.run import Data, RunFile, Source, data_of_run, history_of, read_run_file
from worker.errors import Bug
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import Network
from worker.model.bundle import load_bundle, save_bundle
from worker.model.manifest import BundleManifest, IntendedPopulation

POPULATION = IntendedPopulation(
    age_years=(1.0, 5.0),
    views=("AP",),
    sentence="children of one to five years, AP chest radiographs, one hospital (Guangzhou).",
)
"""Whom the training set shows."""
RUN_FACTS = ("seed", "hold_out", "commit", "configuration", "data", "pretrained")
"""What the manifest takes over from the run file."""
COMPARED = 64
"""Images on which the bundle, read back, must say the same."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """A bundle that was written and read back."""

    folder: Path
    manifest: BundleManifest
    largest_difference: float
    """Between the logits before writing and after reading back."""


def release(
    run: Path,
    source: Source,
    output: Path,
    *,
    version: str,
    out_of_fold: Sequence[Path] = (),
    role: str = "",
    limits: Sequence[str] = (),
    others: Sequence[Path] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Released:
    """Write the bundle of a run into `output`/NAME-VERSION. Raises Rejected, Bug.

    Calibration, threshold and every figure come from `out_of_fold`, runs of the same configuration
    that held images out (the run itself unless given), predicted with weights as a bundle has them
    (fp16, computed in fp32). `role`: "default" or "shadow", for a new installation. `limits`:
    sentences that the card adds to those of every model. `others`: folders of pictures that are
    none of a chest, to count what the wrong-image guard refuses.
    """
    about, spec = read_run_file(run), PreprocessingSpec()
    runs = tuple(out_of_fold) or (run,)
    held_out = held_out_of_runs(runs, source, spec, like=about, tell=tell)
    said = held_out.predictions
    calibration = fit_calibration(said.logits, said.labels)
    point = choose_operating_point(
        said.labels,
        held_out.parts,
        calibration.probabilities(said.logits),
        stressed_labels=said.labels[held_out.stressed_rows],
        by_look={look: calibration.probabilities(x) for look, x in held_out.by_look.items()},
    )
    tell("fitting the wrong-image guard")
    data = data_of_run(run, source, spec)
    model = kept_model(run, about.architecture)
    reference = fit_reference(model, data, held_out, calibration, spec, others=others)
    manifest = BundleManifest(
        model_name=about.architecture,
        model_version=version,
        architecture=about.architecture,
        preprocessing=spec,
        temperature=calibration.temperature,
        bias=calibration.bias,
        threshold=point.threshold,
        threshold_rule=point.rule,
        intended_population=POPULATION,
        dataset_fingerprint=about.fingerprint,
        metrics=figures_of(held_out, calibration, point, reference.figures),
        training=facts_of(about, runs, run, role=role, limits=limits),
    )
    tell("writing the bundle and reading it back")
    folder = output / f"{manifest.model_name}-{version}"
    finished = save_bundle(
        folder,
        model=model,
        card=write_card(manifest),
        manifest=manifest,
        reference=reference.tensors,
    )
    off = difference_after_reading(folder, model, data, spec)
    return Released(folder=folder, manifest=finished, largest_difference=off)


def figures_of(
    held_out: HeldOut,
    calibration: Calibration,
    point: OperatingPoint,
    guard: Mapping[str, Any],
) -> dict[str, Any]:
    """What the manifest says of each held-out part, at the threshold and at .5."""
    images = held_out.predictions
    probabilities = calibration.probabilities(images.logits)
    unseen = cross_fitted(images.logits, images.labels, images.patients)
    figures: dict[str, Any] = {
        "parts": {},
        "intervals": {},
        "recall_by_subtype": {},
        "cross_fitted_ece": {},
        "operating_points": {rule: dict(values) for rule, values in point.candidates.items()},
        "wrong_image_guard": dict(guard),
    }
    for part in dict.fromkeys(held_out.parts.tolist()):
        rows = held_out.parts == part
        labels, said = images.labels[rows], probabilities[rows]
        figures["parts"][part] = {
            at: measure(labels, said, threshold).to_dict()
            for at, threshold in (("threshold", point.threshold), ("0.5", 0.5))
        }
        figures["intervals"][part] = bootstrap_intervals(
            labels, said, images.patients[rows], point.threshold
        )
        kinds = [kind for kind, chosen in zip(images.subtypes, rows, strict=True) if chosen]
        figures["recall_by_subtype"][part] = recall_by_subtype(kinds, said, point.threshold)
        figures["cross_fitted_ece"][part] = round(
            expected_calibration_error(labels, unseen[rows]), 5
        )
    figures["cross_fitted_ece"]["together"] = round(
        expected_calibration_error(images.labels, unseen), 5
    )
    return figures


def facts_of(
    about: RunFile, runs: Sequence[Path], run: Path, *, role: str, limits: Sequence[str]
) -> dict[str, Any]:
    """How the weights came about: this run, and the runs whose predictions chose the threshold."""
    others = {
        folder.name: {key: read_run_file(folder).facts[key] for key in RUN_FACTS}
        | {"history": history_of(folder)}
        for folder in runs
        if folder != run
    }
    return {
        **{key: about.facts[key] for key in RUN_FACTS},
        "history": history_of(run),
        "out_of_fold": others,
        "role": role,
        "limits": list(limits),
    }


def difference_after_reading(
    folder: Path, model: Network, data: Data, spec: PreprocessingSpec
) -> float:
    """Read the bundle as a worker does and compare its logits. Raises Bug if it says otherwise."""
    planes = data.planes[:COMPARED]
    again = logits_of(load_bundle(folder).model, planes, spec)
    off = float(np.abs(again - logits_of(model, planes, spec)).max())
    if not off <= 1e-3:
        raise Bug(
            "BUNDLE_SAYS_OTHERWISE",
            f"The bundle read back gives logits that are off by {off:.3g}; expected at most 0.001. "
            "It was not released; report this.",
        )
    return off
