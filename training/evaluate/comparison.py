"""Two bundles on the same images: paired tests, their ensemble, and a choice by a stated rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from training.evaluate.evaluation import RESEARCH_ONLY, bundle_name
from training.evaluate.evaluation_set import EvaluationSet, is_in_sample
from training.evaluate.intervals import bootstrap_auroc_difference
from training.evaluate.metrics import rounded
from training.evaluate.paired_tests import DeLong, McNemar, delong, mcnemar
from training.evaluate.predictions import Predictions, calibrated
from training.evaluate.threshold_metrics import HALF, ThresholdMetrics, measure_at
from worker.model.manifest import BundleManifest

RULE = (
    "Rule: the greater mean AUROC of the grouped validation and the block, on development data. "
    "Where the 95 % interval of the difference contains 0 in every part it is a tie, and the "
    "greater mean specificity at sensitivity .97 decides."
)
ENSEMBLE = (
    "Ensemble: the mean of both calibrated logits. Its threshold is the mean of both thresholds on "
    "the scale of the logit; it is also shown at .5. It is a row of its own and stands for neither "
    "network."
)
ENSEMBLE_NAME = "ensemble of both"
SIGNIFICANT = 0.05
"""McNemar p below which a sentence calls the predictions different; the rule ignores it."""


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One of the bundles, or their ensemble."""

    name: str
    """Of the bundle, or ENSEMBLE_NAME."""
    probabilities: np.ndarray
    """float64 (n,), calibrated."""
    at_threshold: ThresholdMetrics
    """At its own threshold."""
    at_half: ThresholdMetrics
    """At .5."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"at_threshold": self.at_threshold.to_dict(), "at_half": self.at_half.to_dict()}


@dataclass(frozen=True, kw_only=True)
class PartComparison:
    """Both on one part of the data."""

    part: str
    """validation, block or test."""
    labels: np.ndarray
    """int64 (n,)."""
    patients: int
    """How many different ones."""
    in_sample: tuple[str, ...]
    """Names of those bundles that were trained on these images."""
    first: ComparedModel
    second: ComparedModel
    ensemble: ComparedModel
    mcnemar: McNemar
    """Of the predictions, each at its bundle's threshold."""
    delong: DeLong
    """Of the areas."""
    interval: tuple[float, float]
    """95 % of AUROC(first) - AUROC(second), by a bootstrap of patients."""

    @property
    def difference(self) -> float:
        """AUROC(first) - AUROC(second)."""
        return self.delong.first - self.delong.second

    @property
    def is_noise(self) -> bool:
        """Whether the interval of the difference contains 0."""
        return self.interval[0] <= 0 <= self.interval[1]

    @property
    def models(self) -> tuple[ComparedModel, ...]:
        """In the order of every table."""
        return self.first, self.second, self.ensemble

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "part": self.part,
            "images": len(self.labels),
            "patients": self.patients,
            "in_sample": list(self.in_sample),
            "rows": {model.name: model.to_dict() for model in self.models},
            "auroc_difference": rounded(self.difference),
            "auroc_difference_interval": rounded(self.interval),
            "difference_is_noise": self.is_noise,
            "mcnemar": dataclasses.asdict(self.mcnemar),
            "delong": dataclasses.asdict(self.delong),
        }


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which bundle the rule chooses."""

    better: str | None
    """Name of the bundle; None where the rule was not applied or decides nothing."""
    is_noise: bool
    """Whether the difference of AUROC is noise in every part."""
    sentences: tuple[str, ...]
    """The reasons, and how far to trust them."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**rounded(dataclasses.asdict(self)), "rule": RULE}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that is known of two bundles side by side."""

    names: tuple[str, str]
    """Of the bundles."""
    parts: tuple[PartComparison, ...]
    """validation and block, or test."""
    choice: ModelChoice
    """By the rule."""

    @property
    def in_sample(self) -> tuple[str, ...]:
        """Bundles that were trained on any of these images."""
        return tuple(n for n in self.names if any(n in part.in_sample for part in self.parts))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "in_sample": bool(self.in_sample),
            "verdict": self.choice.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "ensemble": ENSEMBLE,
            "use": RESEARCH_ONLY,
        }


def compare_part(
    images: EvaluationSet,
    manifests: tuple[BundleManifest, BundleManifest],
    predictions: tuple[Predictions, Predictions],
) -> PartComparison:
    """Both bundles on one part, whose `predictions` are known, in the same order."""
    first, second = (_bundle_row(m, p) for m, p in zip(manifests, predictions, strict=True))
    labels = images.labels
    right = [
        (s.probabilities >= s.at_threshold.threshold) == (labels == 1) for s in (first, second)
    ]
    one, other = (p.logits for p in predictions)
    return PartComparison(
        part=images.split,
        labels=labels,
        patients=len(np.unique(images.patients)),
        in_sample=tuple(bundle_name(m) for m in manifests if is_in_sample(m, images)),
        first=first,
        second=second,
        ensemble=_ensemble_row(first, second, predictions[0]),
        mcnemar=mcnemar(right[0], right[1]),
        delong=delong(labels, one, other),
        interval=bootstrap_auroc_difference(labels, one, other, images.patients),
    )


def choose_model(
    manifests: tuple[BundleManifest, BundleManifest], parts: Sequence[PartComparison]
) -> ModelChoice:
    """Apply the rule to development parts; on test images it is stated and not applied."""
    names = (bundle_name(manifests[0]), bundle_name(manifests[1]))
    noise = all(part.is_noise for part in parts)
    sentences = [_describe(part, names) for part in parts]
    if any(part.part == "test" for part in parts):
        sentences.append("The rule is for development data; nothing is chosen by test images.")
        return ModelChoice(better=None, is_noise=noise, sentences=tuple(sentences))
    if any(part.in_sample for part in parts):
        sentences += _in_sample_sentences(manifests)
        return ModelChoice(better=None, is_noise=noise, sentences=tuple(sentences))
    if len(parts) == 1:
        sentences.append("The data have no block, so the grouped validation decides alone.")
    better, reason = _by_rule(names, parts, noise=noise)
    return ModelChoice(better=better, is_noise=noise, sentences=(*sentences, reason))


def _by_rule(
    names: tuple[str, str], parts: Sequence[PartComparison], *, noise: bool
) -> tuple[str | None, str]:
    areas = [_mean(parts, index, "auroc") for index in (0, 1)]
    if not noise:
        better = names[int(areas[1] > areas[0])]
        return better, (
            f"Better by the rule: {better}, with a mean AUROC of {max(areas):.4f} against "
            f"{min(areas):.4f}."
        )
    kept = [_mean(parts, index, "specificity_at_97") for index in (0, 1)]
    if kept[0] == kept[1]:
        return None, (
            "The difference in AUROC is noise, and the specificities at sensitivity .97 are equal: "
            "the rule decides nothing; take either."
        )
    better = names[int(kept[1] > kept[0])]
    return better, (
        f"The difference in AUROC is noise: a tie. {better} is chosen for its mean specificity of "
        f"{max(kept):.4f} against {min(kept):.4f} at sensitivity .97, which is a choice between "
        "equals and no proof that it is better."
    )


def _mean(parts: Sequence[PartComparison], index: int, metric: str) -> float:
    return float(np.mean([getattr(p.models[index].at_threshold.metrics, metric) for p in parts]))


def _describe(part: PartComparison, names: tuple[str, str]) -> str:
    low, high = part.interval
    difference = (
        "is noise: its 95 % interval contains 0"
        if part.is_noise
        else f"favours {names[int(part.difference < 0)]}"
    )
    test = part.mcnemar
    predictions = (
        f"{names[int(test.only_second_right > test.only_first_right)]} is correct more often"
        if test.p < SIGNIFICANT
        else "both are correct equally often, but for noise"
    )
    return (
        f"{part.part.capitalize()}: the AUROC difference {part.difference:+.4f} ({low:+.4f} to "
        f"{high:+.4f}) {difference}. At their thresholds {predictions} (McNemar p = {test.p:.2g})."
    )


def _in_sample_sentences(manifests: Sequence[BundleManifest]) -> list[str]:
    """Why the rule is not applied, and the held-out AUROC of each manifest."""
    sentences = [
        "The rule is not applied: a network that was trained on these images would win by memory."
    ]
    for manifest in manifests:
        parts: Mapping[str, Any] = manifest.metrics.get("parts", {})
        areas = {p: at["threshold"]["auroc"] for p, at in parts.items() if "threshold" in at}
        if areas:
            listed = ", ".join(f"{part} {area:.4f}" for part, area in areas.items())
            sentences.append(
                f"Held-out AUROC in the manifest of {bundle_name(manifest)}: {listed}."
            )
    return sentences


def _bundle_row(manifest: BundleManifest, predictions: Predictions) -> ComparedModel:
    probabilities = calibrated(predictions.logits, manifest.temperature, manifest.bias)
    return _row(bundle_name(manifest), predictions, probabilities, manifest.threshold)


def _ensemble_row(
    first: ComparedModel, second: ComparedModel, predictions: Predictions
) -> ComparedModel:
    """Probabilities of 0 and 1 are clipped, so that the mean of their logits is a number."""
    clipped = [each.probabilities.clip(1e-15, 1 - 1e-15) for each in (first, second)]
    probabilities = expit(np.mean([logit(each) for each in clipped], axis=0))
    points = [each.at_threshold.threshold for each in (first, second)]
    return _row(ENSEMBLE_NAME, predictions, probabilities, float(expit(np.mean(logit(points)))))


def _row(
    name: str, predictions: Predictions, probabilities: np.ndarray, threshold: float
) -> ComparedModel:
    return ComparedModel(
        name=name,
        probabilities=probabilities,
        at_threshold=measure_at(predictions, probabilities, threshold),
        at_half=measure_at(predictions, probabilities, HALF),
    )
