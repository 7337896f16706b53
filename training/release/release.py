"""What `pneumo release` does: calibrate, choose, measure, write the bundle, read it back, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from training.data.data_set import DataSet, ImageSource
from training.evaluate.metrics import expected_calibration_error, measure, rounded
from training.evaluate.predictions import logits_of
from training.evaluate.threshold_metrics import HALF, measure_at
from training.fit.checkpoint import read_history
from training.fit.run_folder import RunFile, read_kept_model, read_run_data, read_run_file
from training.release.calibration import (
    Calibration,
    OperatingPoint,
    choose_operating_point,
    cross_fitted,
    fit_calibration,
)
from training.release.held_out_predictions import HeldOut, predict_held_out
from training.release.model_card import write_card
from training.release.reference_statistics import fit_reference
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
"""Of the training set."""
RUN_FACTS = ("seed", "hold_out", "commit", "configuration", "data", "pretrained")
"""What the manifest copies from the run file."""
COMPARED = 16
"""Images on which the bundle, read back, must give the same logits: one would do."""


@dataclass(frozen=True, kw_only=True)
class ReleasedBundle:
    """A bundle that was written and read back."""

    folder: Path
    manifest: BundleManifest
    largest_difference: float
    """Between the logits before writing and after reading back."""


def release(
    run: Path,
    source: ImageSource,
    output: Path,
    *,
    version: str,
    out_of_fold: Sequence[Path] = (),
    role: str = "",
    limits: Sequence[str] = (),
    others: Sequence[Path] = (),
) -> None:
    """Write the bundle of a run into `output`/NAME-VERSION and print its figures.

    Calibration, threshold and every figure come from `out_of_fold`, runs of the same configuration
    that held images out (the run itself unless given), predicted with weights as a bundle has them
    (fp16, computed in fp32). `role`: "default" or "shadow", for a new installation. `limits`:
    sentences that the card adds to those of every model. `others`: folders of pictures that are
    none of a chest, to count what the wrong-image guard refuses. Raises Rejected, Bug.
    """
    console, about, spec = Console(), read_run_file(run), PreprocessingSpec()
    runs = tuple(out_of_fold) or (run,)
    with console.status("starting") as status:
        held_out = predict_held_out(runs, source, spec, like=about, on_stage=status.update)
        calibration, point = _calibrate(held_out)
        status.update("fitting the wrong-image guard")
        data = read_run_data(run, source, spec)
        model = read_kept_model(run, about.architecture)
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
            metrics=manifest_metrics(held_out, calibration, point, reference.figures),
            training=manifest_training(about, runs, run, role=role, limits=limits),
        )
        status.update("writing the bundle and reading it back")
        released = _write_and_compare(output, manifest, model, reference.tensors, data)
    _print_release(console, released)


def manifest_metrics(
    held_out: HeldOut,
    calibration: Calibration,
    point: OperatingPoint,
    guard: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest's figures of each held-out part, at the threshold and at .5."""
    images = held_out.predictions
    probabilities = calibration.probabilities(images.logits)
    unseen = cross_fitted(images.logits, images.labels, images.patients)
    metrics: dict[str, Any] = {
        "parts": {},
        "intervals": {},
        "recall_by_subtype": {},
        "cross_fitted_ece": {},
        "operating_points": {rule: dict(values) for rule, values in point.candidates.items()},
        "wrong_image_guard": dict(guard),
    }
    for part in dict.fromkeys(held_out.parts.tolist()):
        rows = held_out.parts == part
        predictions = images.rows(rows)
        own = measure_at(predictions, probabilities[rows], point.threshold)
        metrics["parts"][part] = {
            "threshold": own.metrics.to_dict(),
            "0.5": measure(predictions.labels, probabilities[rows], HALF).to_dict(),
        }
        metrics["intervals"][part] = dict(own.intervals)
        metrics["recall_by_subtype"][part] = {
            kind: rounded(recall.value) for kind, recall in own.by_subtype.items()
        }
        error = expected_calibration_error(predictions.labels, unseen[rows])
        metrics["cross_fitted_ece"][part] = rounded(error)
    together = expected_calibration_error(images.labels, unseen)
    metrics["cross_fitted_ece"]["together"] = rounded(together)
    return metrics


def manifest_training(
    about: RunFile, runs: Sequence[Path], run: Path, *, role: str, limits: Sequence[str]
) -> dict[str, Any]:
    """How the weights were made: this run, and the runs whose predictions chose the threshold."""
    return {
        **_facts_of(run, about),
        "out_of_fold": {
            folder.name: _facts_of(folder, read_run_file(folder))
            for folder in runs
            if folder != run
        },
        "role": role,
        "limits": list(limits),
    }


def _facts_of(run: Path, about: RunFile) -> dict[str, Any]:
    return {**{key: about.facts[key] for key in RUN_FACTS}, "history": read_history(run)}


def _calibrate(held_out: HeldOut) -> tuple[Calibration, OperatingPoint]:
    predictions = held_out.predictions
    calibration = fit_calibration(predictions.logits, predictions.labels)
    point = choose_operating_point(
        predictions.labels,
        held_out.parts,
        calibration.probabilities(predictions.logits),
        stressed_labels=predictions.labels[held_out.stressed_rows],
        stressed_probabilities={
            name: calibration.probabilities(logits)
            for name, logits in held_out.stressed_logits.items()
        },
    )
    return calibration, point


def _write_and_compare(
    output: Path,
    manifest: BundleManifest,
    model: Network,
    reference: Mapping[str, Any],
    data: DataSet,
) -> ReleasedBundle:
    """Read the bundle as a worker does and compare its logits. Raises Bug where they differ."""
    folder = output / f"{manifest.model_name}-{manifest.model_version}"
    card = write_card(manifest)
    written = save_bundle(folder, model=model, card=card, manifest=manifest, reference=reference)
    planes, spec = data.planes[:COMPARED], manifest.preprocessing
    again = logits_of(load_bundle(folder).model, planes, spec)
    difference = float(np.abs(again - logits_of(model, planes, spec)).max())
    if not difference <= 1e-3:
        raise Bug(
            "BUNDLE_SAYS_OTHERWISE",
            f"The bundle read back gives logits that differ by {difference:.3g}; expected at most "
            "0.001. It was not released; report this.",
        )
    return ReleasedBundle(folder=folder, manifest=written, largest_difference=difference)


def _print_release(console: Console, released: ReleasedBundle) -> None:
    """One table of the held-out parts at both thresholds, one of the wrong-image guard."""
    metrics = released.manifest.metrics
    columns = {
        f"{part} at {at}": figures
        for part, points in metrics["parts"].items()
        for at, figures in points.items()
    }
    table = Table("figure", *columns, title=f"threshold {released.manifest.threshold:.4f}")
    for name in next(iter(columns.values())):
        table.add_row(name, *(f"{figures[name]:.4g}" for figures in columns.values()))
    console.print(table)
    guard = Table("pictures", "count", "refused", title="Wrong-image guard", title_justify="left")
    for kind, figures in metrics["wrong_image_guard"].items():
        guard.add_row(kind, f"{figures['images']:.0f}", f"{figures['refused']:.1%}")
    console.print(guard)
    console.print(
        f"{released.folder.name} is released; read back, its logits differ by at most "
        f"{released.largest_difference:.1e}.\nNext: pneumo model register {released.folder}"
    )
