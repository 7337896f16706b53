"""Statistics of the training set: the wrong-image guard, and histograms to notice drift by.

What is measured here goes into reference.safetensors of the bundle, and its figures into the card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.model_selection import GroupKFold

from training.data.data_set import DataSet
from training.data.planes import plane_batches
from training.data.splits import group_patients
from training.fit.augmentation import Augmentation, augment
from training.release.calibration import Calibration
from training.release.held_out_predictions import HeldOut
from training.release.non_chest_images import non_chest_images
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network
from worker.model.wrong_image import WrongImageGuard


@dataclass(frozen=True, kw_only=True)
class GuardFeatures:
    """Which of a network's pooled features the guard uses."""

    columns: slice
    """Earlier layers refuse images of every other hospital, later ones separate the two classes and
    little else (docs/results.md has the comparison)."""
    directions: int
    """Of greatest variance: the others are noise of the covariance's estimate."""


GUARD_FEATURES: Mapping[str, GuardFeatures] = {
    "resnet50": GuardFeatures(columns=slice(256 + 512, 256 + 512 + 1024), directions=256),  # layer3
    "vgg16": GuardFeatures(columns=slice(0, None), directions=128),  # blocks 2 to 4
}
LEAST_DEVIATION = 0.01
"""Of the median deviation: a feature that hardly varies in the training set counts as varying so much,
lest its first change be an infinite distance."""
MILD_AUGMENTATION = Augmentation(
    crop_area=(0.7, 1.0),
    crop_ratio=(0.85, 1.18),
    rotation_degrees=6.0,
    shear_degrees=3.0,
    shift=0.03,
    brightness=0.15,
    contrast=0.2,
    gamma=(0.8, 1.25),
    pedestal=0.1,
    blur_sigma=(0.4, 1.2),
    sharpening=1.0,
    noise=0.02,
    border=0.06,
)
"""Half of the images that the guard is fitted on are changed so far: what another detector or another
technician would do to a chest is no reason to refuse it."""
SAMPLE, HELD_OUT_SAMPLE, FOLDS = 800, 300, 5
QUANTILE = 0.99
"""Share of unseen radiographs, as they are and mildly changed, that lies within the cut-off."""
BINS = 32


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The statistics of the training set that a bundle keeps."""

    tensors: Mapping[str, torch.Tensor]
    """For reference.safetensors."""
    figures: Mapping[str, Mapping[str, float]]
    """Kind of picture -> how many, and the share that the guard refuses."""


def fit_reference(
    model: Network,
    data: DataSet,
    held_out: HeldOut,
    calibration: Calibration,
    spec: PreprocessingSpec,
    *,
    others: Sequence[Path] = (),
) -> Reference:
    """Fit the guard on the run's training images, and count what it refuses.

    The cut-off comes from radiographs of patients whom the guard has not seen: those that the run
    held out, or, where it held out nobody, each fifth of the patients in turn by a guard of the
    other four. `others`: folders of further pictures to count refusals of, each a row by its name.
    """
    features = _FeatureExtractor(model, spec)
    directions = features.chosen.directions
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(data.split.train)[:SAMPLE])
    plain = features.of(data.planes[rows])
    changed = features.of_changed(data.planes[rows])
    unseen_rows = np.concatenate([data.split.validation, data.split.block])
    unseen_rows = np.sort(rng.permutation(unseen_rows)[:HELD_OUT_SAMPLE])
    guard = fit_guard(np.concatenate([plain, changed]), directions)
    if len(unseen_rows):
        planes = data.planes[unseen_rows]
        views = (features.of(planes), features.of_changed(planes))
        unseen = [guard.distance(torch.from_numpy(view)) for view in views]
    else:
        unseen_rows = rows
        patients = group_patients(data.radiographs)[rows]
        unseen = _cross_validated(plain, changed, patients, directions)
    cut_off = float(np.quantile(torch.cat(unseen).numpy(), QUANTILE))
    figures = {
        "unseen radiographs": _refusals(unseen[0].numpy(), cut_off),
        "the same, mildly changed": _refusals(unseen[1].numpy(), cut_off),
    }
    for kind, pictures in non_chest_images(data.planes[unseen_rows], spec, others).items():
        distances = guard.distance(torch.from_numpy(features.of(pictures))).numpy()
        figures[kind] = _refusals(distances, cut_off)
    guard = widen(replace(guard, cut_off=cut_off), features.chosen.columns, model.feature_count)
    return Reference(
        tensors={
            **guard.to_reference(),
            **drift_tensors(
                calibration.probabilities(held_out.predictions.logits), data.planes[rows]
            ),
        },
        figures=figures,
    )


def fit_guard(features: np.ndarray, directions: int, cut_off: float = 0.0) -> WrongImageGuard:
    """The guard of features (n, F): mean, and whitening by a shrunk covariance (Ledoit-Wolf).

    The covariance itself, F by F, is never made: shrinking turns no direction and moves each
    variance towards their mean, so the singular values of the features suffice.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.maximum(scale, LEAST_DEVIATION * np.median(scale) + 1e-6)
    standard = ((features - mean) / scale).astype(np.float64)
    shrinkage = ledoit_wolf_shrinkage(standard, assume_centered=True)
    _, values, axes = np.linalg.svd(standard, full_matrices=False)
    variances = values[:directions] ** 2 / len(standard)
    variances = (1 - shrinkage) * variances + shrinkage * np.square(standard).mean()
    whitening = axes[:directions].T / np.sqrt(variances) / scale[:, None]
    return WrongImageGuard(
        mean=torch.from_numpy(mean.astype(np.float32)),
        whitening=torch.from_numpy(whitening.astype(np.float32)),
        cut_off=cut_off,
    )


def widen(guard: WrongImageGuard, columns: slice, count: int) -> WrongImageGuard:
    """The same guard over all `count` features of a network, of which it uses `columns`."""
    mean = torch.zeros(count)
    whitening = torch.zeros(count, guard.whitening.shape[1])
    mean[columns], whitening[columns] = guard.mean, guard.whitening
    return WrongImageGuard(mean=mean, whitening=whitening, cut_off=guard.cut_off)


def drift_tensors(probabilities: np.ndarray, planes: np.ndarray) -> dict[str, torch.Tensor]:
    """Histograms of held-out scores and of the images' mean, deviation and black and white ends."""
    grey = planes.reshape(len(planes), -1).astype(np.float32) / 255
    inputs = [grey.mean(axis=1), grey.std(axis=1), *np.quantile(grey, (0.05, 0.95), axis=1)]
    counts, edges = np.histogram(probabilities, bins=BINS, range=(0.0, 1.0))
    by_input = [np.histogram(values, bins=BINS, range=(0.0, 1.0)) for values in inputs]
    return {
        "drift.score_edges": torch.from_numpy(edges).float(),
        "drift.score_counts": torch.from_numpy(counts),
        "drift.input_edges": torch.from_numpy(np.stack([e for _, e in by_input])).float(),
        "drift.input_counts": torch.from_numpy(np.stack([c for c, _ in by_input])),
    }


class _FeatureExtractor:
    """The features of a network that the guard uses, image by image."""

    def __init__(self, model: Network, spec: PreprocessingSpec) -> None:
        self.chosen = GUARD_FEATURES[type(model).__name__.lower()]
        self._model, self._spec = model, spec

    def of(self, planes: np.ndarray) -> np.ndarray:
        """float32 (n, F) of planes uint8 (n, S, S)."""
        return self._all(planes, lambda grey: grey.float() / 255)

    def of_changed(self, planes: np.ndarray) -> np.ndarray:
        """The same of one mildly changed view of each."""
        draw = torch.Generator().manual_seed(0)
        return self._all(planes, lambda grey: augment(grey, draw, MILD_AUGMENTATION))

    def _all(self, planes: np.ndarray, view: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for batch in plane_batches(planes, 32):
                inputs = standardise(view(batch), self._spec)
                features, _ = self._model.features_and_logits(
                    inputs.to(memory_format=torch.channels_last)
                )
                found.append(features[:, self.chosen.columns].numpy())
        return np.concatenate(found)


def _cross_validated(
    plain: np.ndarray, changed: np.ndarray, patients: np.ndarray, directions: int
) -> list[torch.Tensor]:
    """Distances (n,) of each image, plain and changed, by a guard that has not seen its patient."""
    distances = [torch.empty(len(plain)), torch.empty(len(plain))]
    for others, own in GroupKFold(FOLDS).split(plain, groups=patients):
        guard = fit_guard(np.concatenate([plain[others], changed[others]]), directions)
        for found, view in zip(distances, (plain, changed), strict=True):
            found[own] = guard.distance(torch.from_numpy(view[own]))
    return distances


def _refusals(distances: np.ndarray, cut_off: float) -> dict[str, float]:
    return {
        "images": len(distances),
        "refused": round(float((distances > cut_off).mean()), 4),
        "least_distance_over_cut_off": round(float(distances.min() / cut_off), 4),
    }
