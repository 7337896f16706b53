"""Manifests and guards of bundles; their figures mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from worker.model.architectures import Network
from worker.model.manifest import MANIFEST, BundleManifest, IntendedPopulation
from worker.model.wrong_image import WrongImageGuard


def make_manifest(**changes: object) -> BundleManifest:
    """A complete manifest, but for what `save_bundle` fills in."""
    manifest = BundleManifest(
        model_name="resnet50",
        model_version="9.9.9",
        architecture="resnet50",
        temperature=1.25,
        bias=-0.5,
        threshold=0.4,
        threshold_rule="made up for a test",
        intended_population=IntendedPopulation(
            age_years=(1.0, 5.0), views=("AP",), sentence="children"
        ),
        dataset_fingerprint="0" * 64,
        metrics={"auroc": 0.5},
        training={"seed": 0},
    )
    return replace(manifest, **changes)


def make_guard(model: Network, cut_off: float = 2.0) -> WrongImageGuard:
    """A guard that fits the model; what it measures means nothing."""
    draw = torch.Generator().manual_seed(1)
    return WrongImageGuard(
        mean=torch.rand(model.feature_count, generator=draw),
        whitening=torch.rand(model.feature_count, 8, generator=draw),
        cut_off=cut_off,
    )


def write_signed_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write a manifest with a digest that fits it, as somebody who knows the format could."""
    manifest = replace(manifest, digest=manifest.compute_digest())
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
