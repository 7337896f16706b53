"""One small-effort bundle for all tests of this folder: a ResNet50 with seeded random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.builders.bundles import make_guard, make_manifest
from worker.model.architectures import build_model
from worker.model.bundle import load_bundle, save_bundle


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
        manifest=make_manifest(),
        reference=make_guard(model).to_reference(),
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
