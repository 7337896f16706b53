"""The bundle: the folder in which a trained network travels, and the checks before it may predict.

manifest.json       what it is, its threshold, its preprocessing, the hash of every other file
model.safetensors   weights in fp16, batch-norm tensors in fp32; no code runs at loading
MODEL_CARD.md       the same for people
golden.safetensors  a few made-up images and the logits they gave where the bundle was made
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from worker.errors import Rejected
from worker.imaging.preprocessing import PREPROCESSING_VERSION, standardise
from worker.model.architectures import ARCHITECTURES, Network, build_model
from worker.model.manifest import (
    CLASSES,
    MANIFEST,
    SCHEMA_VERSION,
    BundleRefused,
    Manifest,
    read_manifest,
)

WEIGHTS, CARD, GOLDEN = "model.safetensors", "MODEL_CARD.md", "golden.safetensors"
FILES = (WEIGHTS, CARD, GOLDEN)
"""All that a bundle holds beside its manifest."""
GOLDEN_TOLERANCE = 0.02
"""Logits may differ so much between machines; another weight or recipe moves them far more."""
_CPU = torch.device("cpu")
PACKAGED = Path(__file__).parent / "bundles"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle with its network in memory."""

    manifest: Manifest
    """What it says of itself."""
    model: Network
    """fp32, evaluation mode, without gradients, on the CPU."""
    golden: Mapping[str, torch.Tensor]
    """`planes` uint8 (n, S, S) and the `logits` float32 (n,) that they must give on any device."""


def load_bundle(folder: Path) -> Bundle:
    """Verify everything, then build the network. Raises BundleRefused at the first check that fails.

    Order: files, manifest, hashes, meaning, weights, golden logits; nothing is parsed before its
    hash is known to be right.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    _check_meaning(manifest)
    model = _load_model(folder / WEIGHTS, manifest.architecture)
    bundle = Bundle(manifest=manifest, model=model, golden=load_file(folder / GOLDEN))
    check_golden(bundle, torch.device("cpu"))
    return bundle


def is_whole(folder: Path, digest: str) -> bool:
    """Whether `folder` holds the bundle with this digest, every file as it was made."""
    try:
        manifest = read_manifest(folder)
        _check_files(folder, manifest)
    except BundleRefused:
        return False
    return manifest.digest == digest


def save_bundle(folder: Path, *, model: nn.Module, card: str, manifest: Manifest) -> Manifest:
    """Write a bundle for `model` and return its finished manifest (files and digest filled in).

    The folder appears only when it is complete. The golden logits are those of the rounded
    weights, as every later load has them.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(compact(model.state_dict()), partial / WEIGHTS)
    (partial / CARD).write_text(card)
    rounded = _load_model(partial / WEIGHTS, manifest.architecture)
    planes = golden_planes(manifest.preprocessing.size)
    logits = golden_logits(rounded, planes, manifest)
    save_file({"planes": planes, "logits": logits}, partial / GOLDEN)
    files = {name: _sha256(partial / name) for name in FILES}
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
    """The bundle a new installation starts with. Raises Rejected("NO_PACKAGED_BUNDLE")."""
    bundles = packaged_bundles()
    if not bundles:
        raise Rejected(
            "NO_PACKAGED_BUNDLE",
            "This installation came without a model. Train one (`pneumo train --help`) and run "
            "`pneumo model register FOLDER`.",
        )
    return next((b for b in reversed(bundles) if b.name.startswith("resnet50-")), bundles[-1])


def compact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of convolutions and linear layers in fp16; batch norm and biases stay as they are.

    Running variances may lie outside the range of fp16; they are small anyway.
    """
    return {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in state.items()
    }


def golden_planes(size: int) -> torch.Tensor:
    """Four made-up pictures, uint8 (4, S, S): a ramp, a disc, stripes, seeded noise."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    noise = torch.rand(size, size, generator=torch.Generator().manual_seed(20261123))
    pictures = [(x + 1) / 2, (x**2 + y**2 < 0.5).float(), (torch.sin(12 * y) + 1) / 2, noise]
    return (torch.stack(pictures) * 255).round().to(torch.uint8)


def golden_logits(
    model: nn.Module, planes: torch.Tensor, manifest: Manifest, device: torch.device = _CPU
) -> torch.Tensor:
    """Logits float32 (n,) of planes uint8 (n, S, S), in fp32 on the model's device."""
    with torch.inference_mode():
        inputs = standardise(planes[:, None].float() / 255, manifest.preprocessing)
        return model(inputs.to(device)).float().cpu().contiguous()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be as this installation expects it."""

    code: str
    """Stable, UPPER_SNAKE."""
    holds: Callable[[Manifest], bool]
    """Whether it is."""
    sentence: Callable[[Manifest], str]
    """What was found, what was expected, what to do."""


MEANING: tuple[Check, ...] = (
    Check(
        code="SCHEMA_UNKNOWN",
        holds=lambda m: m.schema_version == SCHEMA_VERSION,
        sentence=lambda m: (
            f"The manifest has schema {m.schema_version!r}; this installation reads "
            f"{SCHEMA_VERSION!r}. Export the bundle with this version's training module."
        ),
    ),
    Check(
        code="ARCHITECTURE_UNKNOWN",
        holds=lambda m: m.architecture in ARCHITECTURES,
        sentence=lambda m: (
            f"The architecture is {m.architecture!r}; this installation knows "
            f"{', '.join(ARCHITECTURES)}. Update it, or choose another bundle."
        ),
    ),
    Check(
        code="CLASS_ORDER_WRONG",
        holds=lambda m: m.classes == CLASSES and m.positive_class == CLASSES[1],
        sentence=lambda m: (
            f"The classes are {', '.join(m.classes)} with {m.positive_class} "
            f"positive; expected {', '.join(CLASSES)} with {CLASSES[1]} positive. Train it again."
        ),
    ),
    Check(
        code="PREPROCESSING_VERSION_MISMATCH",
        holds=lambda m: m.preprocessing.version == PREPROCESSING_VERSION,
        sentence=lambda m: (
            f"It was trained with preprocessing {m.preprocessing.version!r}; this "
            f"installation has {PREPROCESSING_VERSION!r}, which would give other pixels. Use the "
            "version of pneumo that it was made for, or train it again."
        ),
    ),
    Check(
        code="TEMPERATURE_OUT_OF_RANGE",
        holds=lambda m: 0.01 <= m.temperature <= 100,
        sentence=lambda m: (
            f"The temperature is {m.temperature:g}; expected 0.01 to 100. Calibrate it again."
        ),
    ),
    Check(
        code="THRESHOLD_OUT_OF_RANGE",
        holds=lambda m: 0 < m.threshold < 1,
        sentence=lambda m: (
            f"The threshold is {m.threshold:g}; expected a probability between 0 "
            "and 1. Choose it again."
        ),
    ),
)
"""What a manifest must mean before a weight is loaded."""


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Exactly the files that belong, each with its hash."""
    for code, sentence in _file_faults(folder, manifest):
        raise BundleRefused(code, sentence)


def _file_faults(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    if set(manifest.files) != set(FILES):
        yield (
            "BUNDLE_FILE_UNKNOWN",
            f"The manifest must list {', '.join(FILES)} and nothing else. Export it again.",
        )
    present = {path.name for path in folder.iterdir()}
    for name in sorted(present - {MANIFEST, *FILES}):
        yield (
            "BUNDLE_FILE_UNKNOWN",
            f"The folder holds {name}, which no bundle has. Take it out, or export it again.",
        )
    for name in FILES:
        if name not in present:
            yield ("BUNDLE_FILE_MISSING", f"The folder lacks {name}. Copy the whole bundle again.")
        elif _sha256(folder / name) != manifest.files[name]:
            yield (
                "BUNDLE_FILE_CHANGED",
                (
                    f"{name} is not the file that the manifest was made for: its SHA-256 differs. "
                    "Take the bundle from its source again."
                ),
            )


def _check_meaning(manifest: Manifest) -> None:
    for check in MEANING:
        if not check.holds(manifest):
            raise BundleRefused(check.code, check.sentence(manifest))


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


def check_golden(bundle: Bundle, device: torch.device) -> None:
    """The network, on `device`, must still say what it said where the bundle was made."""
    said = golden_logits(bundle.model, bundle.golden["planes"], bundle.manifest, device)
    off = (said - bundle.golden["logits"]).abs().max().item()
    if not off <= GOLDEN_TOLERANCE:  # also when it is NaN
        raise BundleRefused(
            "GOLDEN_LOGITS_OFF",
            f"The network's logits on the bundle's own test pictures are off by {off:.3g}; at most "
            f"{GOLDEN_TOLERANCE:g} is expected. The weights, or this machine's arithmetic, are not "
            "what they were: do not predict with it.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version_key(name: str) -> tuple[int, ...]:
    """`resnet50-0.10.2` sorts after `resnet50-0.9.0`."""
    return tuple(int(part) for part in name.rpartition("-")[2].split(".") if part.isdigit())
