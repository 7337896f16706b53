"""Does the network read lungs, or how the picture was made? Figures that a shortcut gives away."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.data.planes import plane_batches
from training.evaluate.confounder_baseline import border_strip
from training.evaluate.metrics import measure, rounded
from training.evaluate.perturbations import PERTURBATIONS, UNCHANGED
from training.evaluate.predictions import calibrated, logits_of
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network
from worker.model.manifest import BundleManifest
from worker.model.saliency import grad_cam

PROBED = ("blur", "blacks raised", "blacks crushed", "border erased")
"""The perturbations under which the AUROC is measured again."""
SAMPLE, POSITIVES, SEED = 400, 48, 0


@dataclass(frozen=True, kw_only=True)
class PerturbedMetrics:
    """The metrics of the sample under one perturbation."""

    name: str
    """Of the perturbation."""
    auroc: float
    """Of the changed images."""
    change: float
    """AUROC less that of the unchanged images."""
    recall: float
    """At the bundle's threshold."""
    specificity: float
    """At the bundle's threshold."""


@dataclass(frozen=True, kw_only=True)
class ShortcutProbes:
    """What the probes found."""

    images: int
    """Size of the sample."""
    plain: PerturbedMetrics
    """The sample unchanged."""
    perturbed: tuple[PerturbedMetrics, ...]
    """The sample changed."""
    positives: int
    """Pneumonias whose Grad-CAM was computed."""
    border_mass: float
    """Mean share of their Grad-CAM in the outer 10 % strip."""
    border_area: float
    """The strip's share of the picture: what a map without preference would have there."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values: dict[str, Any] = rounded(dataclasses.asdict(self))
        values["looks"] = values.pop("perturbed")
        return values


def probe(
    model: Network,
    manifest: BundleManifest,
    planes: np.ndarray,
    labels: np.ndarray,
    *,
    sample: int = SAMPLE,
    positives: int = POSITIVES,
) -> ShortcutProbes:
    """Probe on a seeded sample of planes uint8 (n, S, S) with labels (n,)."""
    rows = sample_rows(labels, sample)
    found = [
        _measure_perturbed(name, model, manifest, np.asarray(planes[rows]), labels[rows])
        for name in (UNCHANGED, *PROBED)
    ]
    plain, *perturbed = (
        dataclasses.replace(each, change=each.auroc - found[0].auroc) for each in found
    )
    sick = np.flatnonzero(labels == 1)
    chosen = np.sort(np.random.default_rng(SEED).permutation(sick)[:positives])
    return ShortcutProbes(
        images=len(rows),
        plain=plain,
        perturbed=tuple(perturbed),
        positives=len(chosen),
        border_mass=border_mass(model, np.asarray(planes[chosen]), manifest.preprocessing),
        border_area=float(border_strip(planes.shape[-1]).mean()),
    )


def sample_rows(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` row numbers, ascending, with the shares of both classes kept; all if there are fewer."""
    if len(labels) <= count:
        return np.arange(len(labels))
    rng = np.random.default_rng(SEED)
    chosen = []
    for label in (0, 1):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(of_class[: max(1, round(count * len(of_class) / len(labels)))])
    return np.sort(np.concatenate(chosen))


def border_mass(model: Network, planes: np.ndarray, spec: PreprocessingSpec) -> float:
    """Mean share of the Grad-CAM of planes uint8 (n, S, S) that lies in the outer strip.

    Maps that are 0 all over are left out; 0 where all are.
    """
    strip = torch.from_numpy(border_strip(planes.shape[-1]))
    maps = saliency_maps(model, planes, spec)
    whole = maps.sum((1, 2))
    shares = (maps[:, strip].sum(1) / whole)[whole > 0]
    return float(shares.mean()) if len(shares) else 0.0


def saliency_maps(model: Network, planes: np.ndarray, spec: PreprocessingSpec) -> torch.Tensor:
    """Grad-CAM float32 (n, S, S) in [0, 1] of planes uint8 (n, S, S), on the CPU."""
    device = next(model.parameters()).device
    batches = plane_batches(planes, 8)
    return torch.cat(
        [grad_cam(model, standardise(b.float() / 255, spec).to(device)).cpu() for b in batches]
    )


def _measure_perturbed(
    name: str, model: Network, manifest: BundleManifest, planes: np.ndarray, labels: np.ndarray
) -> PerturbedMetrics:
    logits = logits_of(model, planes, manifest.preprocessing, PERTURBATIONS[name])
    probabilities = calibrated(logits, manifest.temperature, manifest.bias)
    metrics = measure(labels, probabilities, manifest.threshold)
    return PerturbedMetrics(
        name=name,
        auroc=metrics.auroc,
        change=0.0,
        recall=metrics.recall,
        specificity=metrics.specificity,
    )
