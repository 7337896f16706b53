"""What the tests of evaluation and comparison measure: small bundles, and images drawn in code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.builders.bundles import make_manifest
from training.data.data_set import LabelledPlanes
from training.data.pool import Layout
from training.data.radiograph import Radiograph
from training.evaluate.evaluation_set import EvaluationSet
from training.evaluate.predictions import Predictions
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import build_model
from worker.model.bundle import save_bundle
from worker.model.manifest import BundleManifest

SMALL = PreprocessingSpec(size=64)
FINGERPRINT = "f" * 64


def small_manifest(version: str = "9.9.0", **changes: Any) -> BundleManifest:
    """Of a network that looks at 64 x 64 pixels."""
    values = {"temperature": 1.25, "bias": 0.0, "threshold": 0.4, **changes}
    return make_manifest(model_version=version, preprocessing=SMALL, **values)


def save_small_bundle(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A bundle with seeded random weights, in a folder of its name."""
    manifest = small_manifest(f"9.9.{seed}", **changes)
    path = folder / f"resnet50-{manifest.model_version}"
    torch.manual_seed(seed)
    save_bundle(path, model=build_model("resnet50"), card="# A card\n", manifest=manifest)
    return path


def images_of(labels: np.ndarray, *, split: str = "validation", size: int = 64) -> EvaluationSet:
    """Noise, brighter where the label is 1; one patient for each two images."""
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 150, (len(labels), size, size)) + 60 * labels[:, None, None]
    subtypes = np.where(
        labels == 1, np.where(np.arange(len(labels)) % 2, "virus", "bacteria"), "normal"
    )
    return EvaluationSet(
        split=split,
        hold_out="validation",
        fingerprint=FINGERPRINT,
        root=Path("nowhere"),
        layout=Layout.CLASS_FOLDERS,
        radiographs=tuple(
            Radiograph(
                path=Path(f"train/{n}.jpeg"),
                label=int(label),
                patient_key=f"{subtype}:person{n // 2}",
                sha256=f"{n:064}",
            )
            for n, (label, subtype) in enumerate(zip(labels, subtypes, strict=True))
        ),
        patients=np.arange(len(labels)) // 2,
        planes=planes.astype(np.uint8),
        train=LabelledPlanes(planes=planes.astype(np.uint8), labels=labels),
    )


def predictions_of(images: EvaluationSet, logits: np.ndarray) -> Predictions:
    """The images with given logits."""
    return Predictions(
        names=tuple(r.path.as_posix() for r in images.radiographs),
        patients=images.patients,
        subtypes=tuple(r.subtype for r in images.radiographs),
        labels=images.labels,
        logits=logits.astype(np.float64),
    )
