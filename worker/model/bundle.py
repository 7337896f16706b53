"""The bundle: the folder in which a trained network travels, and the checks before it may predict.

manifest.json          what it is, its threshold, its preprocessing, the hash of every other file
model.safetensors      weights in fp16, batch-norm tensors in fp32; no code runs at loading
MODEL_CARD.md          the same for people
golden.safetensors     a few made-up images, and what they gave where the bundle was made
reference.safetensors  how the training set looks: the wrong-image guard, histograms for drift
                       (not in bundles of schema 1, which are assessed without a guard)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from worker.errors import Rejected
from worker.model.architectures import Network, build_model
from worker.model.bundle_checks import (
    CARD,
    FILES,
    GOLDEN,
    REFERENCE,
    WEIGHTS,
    check_files,
    check_meaning,
    sha256,
)
from worker.model.golden import check_golden, golden_answers, golden_planes
from worker.model.manifest import MANIFEST, BundleManifest, BundleRefused, read_manifest
from worker.model.wrong_image import WrongImageGuard

PACKAGED = Path(__file__).parent / "bundles"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle with its network in memory."""

    manifest: BundleManifest
    """What it says of itself."""
    model: Network
    """fp32, evaluation mode, without gradients, on the CPU."""
    golden: Mapping[str, torch.Tensor]
    """`planes` uint8 (n, S, S), and float32 (n,) the `logits`, and with a guard the `distances`, that
    they must give on any device."""
    guard: WrongImageGuard | None = None
    """Tells pictures that are nothing like the training set; None: the bundle has none."""


def load_bundle(folder: Path) -> Bundle:
    """Verify everything, then build the network.

    Order: files, manifest, hashes, meaning, weights, guard, golden answers; nothing is parsed
    before its hash is known to be right.

    Args:
        folder: The bundle.

    Returns:
        The bundle with its network on the CPU, in evaluation mode.

    Raises:
        BundleRefused: The first check that fails.

    Example:
        >>> load_bundle(PACKAGED / "resnet50-0.2.0").manifest.architecture
        'resnet50'
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    check_meaning(manifest)
    model = _load_model(folder / WEIGHTS, manifest.architecture)
    golden, guard = load_file(folder / GOLDEN), _load_guard(folder, model, manifest)
    check_golden(golden, model, guard, manifest.preprocessing)
    return Bundle(manifest=manifest, model=model, golden=golden, guard=guard)


def is_whole(folder: Path, digest: str) -> bool:
    """Return whether `folder` holds the bundle with this digest, every file as it was made."""
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
    except BundleRefused:
        return False
    return manifest.digest == digest


def save_bundle(
    folder: Path,
    *,
    model: nn.Module,
    card: str,
    manifest: BundleManifest,
    reference: Mapping[str, torch.Tensor] | None = None,
) -> BundleManifest:
    """Write a bundle; the folder appears only when it is complete.

    Args:
        folder: Where to write it; one that is there is replaced.
        model: The network. The golden logits are those of the rounded weights, as every later load
            has them.
        card: The text of MODEL_CARD.md.
        manifest: All but files and digest.
        reference: The tensors of the reference file, see wrong_image.py and
            training/release/reference_statistics.py; None: a bundle without a guard.

    Returns:
        The manifest with files and digest filled in.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(compact(model.state_dict()), partial / WEIGHTS)
    (partial / CARD).write_text(card)
    rounded = _load_model(partial / WEIGHTS, manifest.architecture)
    guard = None
    names: tuple[str, ...] = FILES
    if reference is not None:
        save_file(dict(reference), partial / REFERENCE)
        names = (*FILES, REFERENCE)
        guard = WrongImageGuard.from_reference(reference, rounded.feature_count)
    planes = golden_planes(manifest.preprocessing.size)
    answers = golden_answers(rounded, guard, planes, manifest.preprocessing)
    save_file({"planes": planes, **answers}, partial / GOLDEN)
    files = {name: sha256(partial / name) for name in names}
    finished = replace(manifest, files=files)
    finished = replace(finished, digest=finished.compute_digest())
    (partial / MANIFEST).write_bytes(finished.to_bytes())
    for path in partial.iterdir():
        path.chmod(0o644)  # safetensors writes for its owner alone; workers are other users
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return finished


def packaged_bundles() -> list[Path]:
    """Folders of the bundles that come with this package, oldest version first."""
    found = [path.parent for path in PACKAGED.glob(f"*/{MANIFEST}")]
    return sorted(found, key=lambda path: _version_key(path.name))


def default_bundle() -> Path:
    """Return the bundle a new installation starts with. Raises Rejected("NO_PACKAGED_BUNDLE")."""
    bundles = packaged_bundles()
    if not bundles:
        raise Rejected(
            "NO_PACKAGED_BUNDLE",
            "This installation came without a model. Train one (`pneumo train --help`) and run "
            "`pneumo model register FOLDER`.",
        )
    newest = bundles[::-1]
    chosen = [b for b in newest if _role_of(b) == "default"]
    chosen += [b for b in newest if b.name.startswith("resnet50-")]
    return [*chosen, *newest][0]


def shadow_bundle() -> Path | None:
    """Return the bundle that a new installation runs beside the default one, if there is one."""
    return next((b for b in reversed(packaged_bundles()) if _role_of(b) == "shadow"), None)


def _role_of(folder: Path) -> str:
    """Return what the training module said that a packaged bundle is on a new installation."""
    return str(read_manifest(folder).training.get("role", ""))


def compact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of convolutions and linear layers in fp16; batch norm and biases stay as they are.

    Running variances may lie outside the range of fp16; they are small anyway.
    """
    return {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in state.items()
    }


def _load_model(path: Path, architecture: str) -> Network:
    model = build_model(architecture)
    try:
        weights: dict[str, Any] = load_file(path)
        model.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        )
    except (SafetensorError, RuntimeError):
        raise BundleRefused(
            "WEIGHTS_DO_NOT_FIT",
            f"The weights are not those of a {architecture}: names or shapes differ. Export the "
            "bundle again.",
        ) from None
    return model.eval().requires_grad_(requires_grad=False)


def _load_guard(folder: Path, model: Network, manifest: BundleManifest) -> WrongImageGuard | None:
    """Return the guard, if the bundle has one, whose measure fits the network's features."""
    if REFERENCE not in manifest.files:
        return None
    try:
        return WrongImageGuard.from_reference(load_file(folder / REFERENCE), model.feature_count)
    except (SafetensorError, ValueError):
        raise BundleRefused(
            "REFERENCE_DOES_NOT_FIT",
            f"The reference file does not fit the features of a {manifest.architecture}. Export "
            "the bundle again.",
        ) from None


def _version_key(name: str) -> tuple[int, ...]:
    """`resnet50-0.10.2` sorts after `resnet50-0.9.0`."""
    return tuple(int(part) for part in name.rpartition("-")[2].split(".") if part.isdigit())
