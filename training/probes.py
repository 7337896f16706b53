"""Does the network read lungs, or the picture's make? Figures that a shortcut would give away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.held_out import logits_of
from training.metrics import auroc
from training.nuisance import border_strip
from training.stress import STRESSES
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network
from worker.model.manifest import BundleManifest
from worker.model.saliency import grad_cam

PROBED = ("blur", "blacks raised", "blacks crushed", "border erased")
"""The looks of training/stress.py under which the AUROC is taken again."""
SAMPLE, POSITIVES, SEED = 400, 48, 0
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Look:
    """The same images, changed in a way that no radiologist would be misled by."""

    name: str
    """Which change."""
    auroc: float
    """Of the changed images."""
    change: float
    """Less that of the unchanged ones."""
    recall: float
    """At the bundle's threshold."""
    specificity: float
    """At the bundle's threshold."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What the shortcut probes found."""

    images: int
    """Size of the sample."""
    plain: Look
    """The sample as it is."""
    looks: tuple[Look, ...]
    """The sample changed."""
    positives: int
    """Pneumonias whose Grad-CAM was taken."""
    border_mass: float
    """Mean share of their Grad-CAM in the outer 10 % strip."""
    border_area: float
    """The strip's share of the picture: what a map without preference would have there."""


def probe(
    model: Network,
    manifest: BundleManifest,
    planes: np.ndarray,
    labels: np.ndarray,
    *,
    sample: int = SAMPLE,
    positives: int = POSITIVES,
) -> Probes:
    """Probe on a seeded sample of planes uint8 (n, S, S) with labels (n,)."""
    rows = sample_rows(labels, sample)
    shown, truth = np.asarray(planes[rows]), labels[rows]
    plain = _look("as they are", model, manifest, shown, truth)
    looks = tuple(_look(name, model, manifest, shown, truth, plain.auroc) for name in PROBED)
    sick = np.flatnonzero(labels == 1)
    chosen = np.sort(np.random.default_rng(SEED).permutation(sick)[:positives])
    mass = border_mass(model, np.asarray(planes[chosen]), manifest.preprocessing)
    return Probes(
        images=len(rows),
        plain=plain,
        looks=looks,
        positives=len(chosen),
        border_mass=mass,
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

    Maps that are 0 all over count for nothing; 0 where all are.
    """
    strip = torch.from_numpy(border_strip(planes.shape[-1]))
    shares: list[torch.Tensor] = []
    for maps in cam_batches(model, planes, spec):
        whole = maps.sum((1, 2))
        shares.append((maps[:, strip].sum(1) / whole)[whole > 0])
    found = torch.cat(shares)
    return float(found.mean()) if len(found) else 0.0


def cam_batches(model: Network, planes: np.ndarray, spec: PreprocessingSpec) -> list[torch.Tensor]:
    """Grad-CAM of planes uint8 (n, S, S), in batches float32 (b, S, S) on the CPU."""
    device = next(model.parameters()).device
    batches = []
    for start in range(0, len(planes), _AT_ONCE):
        grey = torch.from_numpy(np.array(planes[start : start + _AT_ONCE]))[:, None].float() / 255
        batches.append(grad_cam(model, standardise(grey, spec).to(device)).cpu())
    return batches


def _look(
    name: str,
    model: Network,
    manifest: BundleManifest,
    planes: np.ndarray,
    labels: np.ndarray,
    plain_auroc: float | None = None,
) -> Look:
    logits = logits_of(model, planes, manifest.preprocessing, STRESSES[name])
    area = auroc(labels, logits)
    point = np.log(manifest.threshold / (1 - manifest.threshold))
    called = logits / manifest.temperature + manifest.bias >= point
    return Look(
        name=name,
        auroc=area,
        change=0.0 if plain_auroc is None else area - plain_auroc,
        recall=float(called[labels == 1].mean()),
        specificity=float((~called[labels == 0]).mean()),
    )
