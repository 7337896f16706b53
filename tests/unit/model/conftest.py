"""One small-effort bundle for all tests of this folder: a ResNet50 with seeded random weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worker.model.architectures import Network, build_model
from worker.model.bundle import load_bundle, save_bundle
from worker.model.manifest import MANIFEST, IntendedPopulation, Manifest
from worker.model.wrong_image import WrongImageGuard


def manifest_of(**changes: object) -> Manifest:
    """A complete manifest, but for what `save_bundle` fills in."""
    manifest = Manifest(
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


def guard_of(model: Network, cut_off: float = 2.0) -> WrongImageGuard:
    """A guard that fits the model; what it measures means nothing."""
    draw = torch.Generator().manual_seed(1)
    return WrongImageGuard(
        mean=torch.rand(model.feature_count, generator=draw),
        whitening=torch.rand(model.feature_count, 8, generator=draw),
        cut_off=cut_off,
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A valid bundle; not to be changed."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles") / "resnet50-9.9.9"
    model = build_model("resnet50")
    save_bundle(
        folder,
        model=model,
        card="# A card\n",
        manifest=manifest_of(),
        reference=guard_of(model).to_reference(),
    )
    return folder


@pytest.fixture(scope="session")
def loaded(made):
    """The same, in memory; not to be changed."""
    return load_bundle(made)


@pytest.fixture
def bundle(made, tmp_path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def resign(folder: Path, manifest: Manifest) -> None:
    """Write a manifest with a digest that fits it, as somebody who knows the format could."""
    manifest = replace(manifest, digest=manifest.compute_digest())
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
