"""A bundle measured on one part of a data set: every figure of the report, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluate.confounder_baseline import ConfounderBaseline, fit_confounder_baseline
from training.evaluate.evaluation_set import EvaluationSet, is_in_sample
from training.evaluate.predictions import Predictions, calibrated
from training.evaluate.shortcut_probes import ShortcutProbes, probe
from training.evaluate.threshold_metrics import HALF, ThresholdMetrics, measure_at
from worker.model.bundle import Bundle
from worker.model.manifest import BundleManifest

NO_BASELINE = (
    "Left out: the data hold no folder train or val, so there was nothing to fit the confounder "
    "baseline on."
)
IN_SAMPLE = (
    "The network was trained on these very images: the figures show how well it remembers, not "
    "how well it reads. Measure it on images that it has never seen, or look at the held-out "
    "figures in its model card."
)
RESEARCH_ONLY = (
    "For research only. This software is no medical device and its figures are no ground for a "
    "diagnosis."
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A bundle on n images."""

    manifest: BundleManifest
    """Of the bundle."""
    split: str
    """validation, block or test."""
    in_sample: bool
    """Whether the network was trained on these images."""
    predictions: Predictions
    """Image by image."""
    probabilities: np.ndarray
    """float64 (n,), calibrated."""
    at_threshold: ThresholdMetrics
    """At the bundle's own threshold."""
    at_half: ThresholdMetrics
    """At probability .5."""
    baseline: ConfounderBaseline | None
    """What 15 numbers without anatomy achieve; None where there was nothing to fit it on."""
    probes: ShortcutProbes
    """Whether it depends on how the pictures were made."""

    @property
    def name(self) -> str:
        """e.g. "resnet50-1.0.0"."""
        return bundle_name(self.manifest)

    @property
    def patients(self) -> int:
        """How many different ones."""
        return len(np.unique(self.predictions.patients))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; predictions are in a file of their own."""
        return {
            "bundle": self.name,
            "digest": self.manifest.digest,
            "architecture": self.manifest.architecture,
            "split": self.split,
            "images": len(self.predictions.labels),
            "pneumonia": int(self.predictions.labels.sum()),
            "patients": self.patients,
            "in_sample": self.in_sample,
            "warnings": [IN_SAMPLE] if self.in_sample else [],
            "calibration": {
                "temperature": self.manifest.temperature,
                "bias": self.manifest.bias,
            },
            "at_threshold": self.at_threshold.to_dict(),
            "at_half": self.at_half.to_dict(),
            "nuisance": self.baseline.to_dict() if self.baseline else {"left_out": NO_BASELINE},
            "probes": self.probes.to_dict(),
            "history": list(self.manifest.training.get("history", [])),
            "use": RESEARCH_ONLY,
        }


def bundle_name(manifest: BundleManifest) -> str:
    """Name and version."""
    return f"{manifest.model_name}-{manifest.model_version}"


def evaluate(bundle: Bundle, images: EvaluationSet, predictions: Predictions) -> Evaluation:
    """Measure a bundle by its `predictions` of `images`, and probe it."""
    manifest = bundle.manifest
    probabilities = calibrated(predictions.logits, manifest.temperature, manifest.bias)
    baseline = None
    if images.train is not None:
        baseline = fit_confounder_baseline(
            images.train, images.planes, images.labels, images.patients
        )
    return Evaluation(
        manifest=manifest,
        split=images.split,
        in_sample=is_in_sample(manifest, images),
        predictions=predictions,
        probabilities=probabilities,
        at_threshold=measure_at(predictions, probabilities, manifest.threshold),
        at_half=measure_at(predictions, probabilities, HALF),
        baseline=baseline,
        probes=probe(bundle.model, manifest, images.planes, images.labels),
    )
