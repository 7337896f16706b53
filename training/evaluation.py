"""A bundle measured on one part of a data set: every figure of the report, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation_set import EvaluationSet, is_in_sample
from training.intervals import bootstrap_intervals, wilson
from training.metrics import Metrics, measure
from training.nuisance import NuisanceBaseline, nuisance_baseline
from training.predictions import Predictions
from training.probes import Probes, probe
from training.rounding import rounded
from worker.model.bundle import Bundle
from worker.model.manifest import BundleManifest

HALF = 0.5
NO_BASELINE = (
    "Left out: the data hold no folder train or val, so there was nothing to fit the nuisance "
    "baseline on."
)
IN_SAMPLE = (
    "The network learnt from these very images: the figures say how well it remembers, not how "
    "well it reads. Measure it on images that it has never seen, or look at the held-out figures "
    "in its model card."
)
RESEARCH_ONLY = (
    "For research only. This software is no medical device and its figures are no ground for a "
    "diagnosis."
)
SUBTYPES = ("bacteria", "virus")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A proportion with its 95 % interval (Wilson)."""

    successes: int
    """How many did."""
    trials: int
    """Of how many."""

    @property
    def value(self) -> float:
        """The proportion; NaN without trials."""
        return self.successes / self.trials if self.trials else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        return wilson(self.successes, self.trials)


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images by truth and verdict."""

    true_positive: int
    """Pneumonia, called so."""
    false_negative: int
    """Pneumonia, missed."""
    false_positive: int
    """Normal, called pneumonia."""
    true_negative: int
    """Normal, called so."""

    def shares(self) -> dict[str, Share]:
        """The proportions, by the names of Metrics."""
        tp, fn = self.true_positive, self.false_negative
        fp, tn = self.false_positive, self.true_negative
        return {
            "accuracy": Share(successes=tp + tn, trials=tp + fn + fp + tn),
            "precision": Share(successes=tp, trials=tp + fp),
            "recall": Share(successes=tp, trials=tp + fn),
            "specificity": Share(successes=tn, trials=tn + fp),
        }


@dataclass(frozen=True, kw_only=True)
class AtThreshold:
    """All figures at one threshold on the calibrated probability."""

    threshold: float
    """Which."""
    metrics: Metrics
    """The figures."""
    intervals: Mapping[str, tuple[float, float]]
    """95 %, by a bootstrap of patients; by the names of Metrics."""
    confusion: Confusion
    """Counts."""
    by_subtype: Mapping[str, Share]
    """Recall of bacterial and of viral pneumonias, where there are any."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.threshold,
            "figures": self.metrics.to_dict(),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "wilson": {k: rounded(s.interval) for k, s in self.confusion.shares().items()},
            "confusion": dataclasses.asdict(self.confusion),
            "recall_by_subtype": {
                kind: {
                    "recall": round(share.value, 5),
                    "images": share.trials,
                    "wilson": rounded(share.interval),
                }
                for kind, share in self.by_subtype.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A bundle on n images."""

    manifest: BundleManifest
    """Of the bundle."""
    split: str
    """validation, block or test."""
    in_sample: bool
    """Whether the network learnt from these images."""
    predictions: Predictions
    """Image by image."""
    probabilities: np.ndarray
    """float64 (n,), calibrated."""
    at_threshold: AtThreshold
    """At the bundle's own threshold."""
    at_half: AtThreshold
    """At probability .5."""
    nuisance: NuisanceBaseline | None
    """What 15 numbers without anatomy reach; None where there was nothing to fit it on."""
    probes: Probes
    """Of shortcuts."""

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
        nuisance: dict[str, Any] = {"left_out": NO_BASELINE}
        if self.nuisance is not None:
            nuisance = rounded(dataclasses.asdict(self.nuisance))
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
            "nuisance": nuisance,
            "probes": rounded(dataclasses.asdict(self.probes)),
            "history": list(self.manifest.training.get("history", [])),
            "use": RESEARCH_ONLY,
        }


def bundle_name(manifest: BundleManifest) -> str:
    """Name and version."""
    return f"{manifest.model_name}-{manifest.model_version}"


def evaluate(bundle: Bundle, images: EvaluationSet, predictions: Predictions) -> Evaluation:
    """Every figure of a bundle whose `predictions` of `images` are known."""
    manifest = bundle.manifest
    probabilities = predictions.probabilities(manifest.temperature, manifest.bias)
    baseline = None
    if images.learnt is not None:
        baseline = nuisance_baseline(
            images.learnt.planes,
            images.learnt.labels,
            images.planes,
            images.labels,
            images.patients,
        )
    return Evaluation(
        manifest=manifest,
        split=images.split,
        in_sample=is_in_sample(manifest, images),
        predictions=predictions,
        probabilities=probabilities,
        at_threshold=at(predictions, probabilities, manifest.threshold),
        at_half=at(predictions, probabilities, HALF),
        nuisance=baseline,
        probes=probe(bundle.model, manifest, images.planes, images.labels),
    )


def at(predictions: Predictions, probabilities: np.ndarray, threshold: float) -> AtThreshold:
    """The figures of probabilities (n,) at one threshold."""
    labels, called = predictions.labels, probabilities >= threshold
    kinds = np.array(predictions.subtypes)
    return AtThreshold(
        threshold=threshold,
        metrics=measure(labels, probabilities, threshold),
        intervals=bootstrap_intervals(labels, probabilities, predictions.patients, threshold),
        confusion=Confusion(
            true_positive=int((called & (labels == 1)).sum()),
            false_negative=int((~called & (labels == 1)).sum()),
            false_positive=int((called & (labels == 0)).sum()),
            true_negative=int((~called & (labels == 0)).sum()),
        ),
        by_subtype={
            kind: Share(
                successes=int(called[kinds == kind].sum()), trials=int((kinds == kind).sum())
            )
            for kind in SUBTYPES
            if (kinds == kind).any()
        },
    )
