"""Two bundles on the same images: paired tests, their ensemble, and a verdict by a stated rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from training.evaluation import HALF, RESEARCH_ONLY, AtThreshold, at, bundle_name
from training.evaluation_set import EvaluationSet, is_in_sample
from training.intervals import bootstrap_auroc_difference
from training.paired import DeLong, McNemar, delong, mcnemar
from training.predictions import Predictions
from training.rounding import rounded
from worker.model.manifest import BundleManifest

RULE = (
    "Rule: the greater mean AUROC of the grouped validation and the block, on development data. "
    "Where the 95 % interval of the difference contains 0 in every part it is a tie, and the "
    "greater mean specificity at sensitivity .97 decides."
)
ENSEMBLE = (
    "Ensemble: the mean of both calibrated logits. Its threshold is the mean of both thresholds on "
    "the scale of the logit; it is also shown at .5. It is a row of its own and speaks for neither "
    "network."
)
ENSEMBLE_NAME = "ensemble of both"
SIGNIFICANT = 0.05
"""McNemar p below which verdicts are said to differ; a word for a reader, the rule ignores it."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the rows that are compared."""

    name: str
    """Of the bundle, or ENSEMBLE_NAME."""
    probabilities: np.ndarray
    """float64 (n,), calibrated."""
    at_threshold: AtThreshold
    """At its own threshold."""
    at_half: AtThreshold
    """At .5."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "at_threshold": self.at_threshold.to_dict(),
            "at_half": self.at_half.to_dict(),
        }


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
    """Names of those bundles that learnt from these images."""
    first: Side
    second: Side
    ensemble: Side
    mcnemar: McNemar
    """Of the verdicts, each at its bundle's threshold."""
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
    def sides(self) -> tuple[Side, ...]:
        """In the order of every table."""
        return self.first, self.second, self.ensemble

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "part": self.part,
            "images": len(self.labels),
            "patients": self.patients,
            "in_sample": list(self.in_sample),
            "rows": {side.name: side.to_dict() for side in self.sides},
            "auroc_difference": round(self.difference, 5),
            "auroc_difference_interval": rounded(self.interval),
            "difference_is_noise": self.is_noise,
            "mcnemar": dataclasses.asdict(self.mcnemar),
            "delong": dataclasses.asdict(self.delong),
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rule says."""

    better: str | None
    """Name of the bundle; None where the rule was not applied or decides nothing."""
    is_noise: bool
    """Whether the difference of AUROC is noise in every part."""
    sentences: tuple[str, ...]
    """The reasons, and how far to trust them."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "better": self.better,
            "is_noise": self.is_noise,
            "sentences": list(self.sentences),
            "rule": RULE,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that is known of two bundles side by side."""

    names: tuple[str, str]
    """Of the bundles."""
    parts: tuple[PartComparison, ...]
    """validation and block, or test."""
    verdict: Verdict
    """By the rule."""

    @property
    def in_sample(self) -> tuple[str, ...]:
        """Bundles that learnt from any of these images."""
        return tuple(n for n in self.names if any(n in part.in_sample for part in self.parts))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "in_sample": bool(self.in_sample),
            "verdict": self.verdict.to_dict(),
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
    first, second = (_side(m, p) for m, p in zip(manifests, predictions, strict=True))
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
        ensemble=_ensemble(first, second, predictions[0]),
        mcnemar=mcnemar(right[0], right[1]),
        delong=delong(labels, one, other),
        interval=bootstrap_auroc_difference(labels, one, other, images.patients),
    )


def decide(
    manifests: tuple[BundleManifest, BundleManifest], parts: Sequence[PartComparison]
) -> Verdict:
    """The rule, applied to development parts; on test images it is reported and not applied."""
    names = (bundle_name(manifests[0]), bundle_name(manifests[1]))
    noise = all(part.is_noise for part in parts)
    told = [_told(part, names) for part in parts]
    if any(part.part == "test" for part in parts):
        told.append("The rule is for development data; nothing is chosen by test images.")
        return Verdict(better=None, is_noise=noise, sentences=tuple(told))
    if any(part.in_sample for part in parts):
        told += _in_sample_sentences(manifests)
        return Verdict(better=None, is_noise=noise, sentences=tuple(told))
    if len(parts) == 1:
        told.append("The data have no block, so the grouped validation decides alone.")
    better, reason = _by_rule(names, parts, noise=noise)
    return Verdict(better=better, is_noise=noise, sentences=(*told, reason))


def _by_rule(
    names: tuple[str, str], parts: Sequence[PartComparison], *, noise: bool
) -> tuple[str | None, str]:
    areas = [_mean(parts, side, "auroc") for side in (0, 1)]
    if not noise:
        better = names[int(areas[1] > areas[0])]
        return better, (
            f"Better by the rule: {better}, with a mean AUROC of {max(areas):.4f} against "
            f"{min(areas):.4f}."
        )
    kept = [_mean(parts, side, "specificity_at_97") for side in (0, 1)]
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


def _mean(parts: Sequence[PartComparison], side: int, figure: str) -> float:
    return float(np.mean([getattr(p.sides[side].at_threshold.metrics, figure) for p in parts]))


def _told(part: PartComparison, names: tuple[str, str]) -> str:
    low, high = part.interval
    said = (
        "is noise: its 95 % interval contains 0"
        if part.is_noise
        else f"favours {names[int(part.difference < 0)]}"
    )
    test = part.mcnemar
    verdicts = (
        f"{names[int(test.only_second_right > test.only_first_right)]} is right more often"
        if test.p < SIGNIFICANT
        else "both are right equally often, but for noise"
    )
    return (
        f"{part.part.capitalize()}: the AUROC difference {part.difference:+.4f} ({low:+.4f} to "
        f"{high:+.4f}) {said}. At their thresholds {verdicts} (McNemar p = {test.p:.2g})."
    )


def _in_sample_sentences(manifests: Sequence[BundleManifest]) -> list[str]:
    """Why the rule is not applied, and what the manifests say of images that were held out."""
    told = ["The rule is not applied: a network that learnt from these images would win by memory."]
    for manifest in manifests:
        parts: Mapping[str, Any] = manifest.metrics.get("parts", {})
        areas = {p: at["threshold"]["auroc"] for p, at in parts.items() if "threshold" in at}
        if areas:
            listed = ", ".join(f"{part} {area:.4f}" for part, area in areas.items())
            told.append(f"Held-out AUROC in the manifest of {bundle_name(manifest)}: {listed}.")
    return told


def _side(manifest: BundleManifest, predictions: Predictions) -> Side:
    probabilities = predictions.probabilities(manifest.temperature, manifest.bias)
    return _row(bundle_name(manifest), predictions, probabilities, manifest.threshold)


def _ensemble(first: Side, second: Side, predictions: Predictions) -> Side:
    """Where both are certain to the last bit, a logit is bounded, so that the mean is a number."""
    bounded = [s.probabilities.clip(1e-15, 1 - 1e-15) for s in (first, second)]
    probabilities = expit(np.mean([logit(each) for each in bounded], axis=0))
    points = [s.at_threshold.threshold for s in (first, second)]
    return _row(ENSEMBLE_NAME, predictions, probabilities, float(expit(np.mean(logit(points)))))


def _row(name: str, predictions: Predictions, probabilities: np.ndarray, threshold: float) -> Side:
    return Side(
        name=name,
        probabilities=probabilities,
        at_threshold=at(predictions, probabilities, threshold),
        at_half=at(predictions, probabilities, HALF),
    )
