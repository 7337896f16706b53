"""Start from pretrained weights, and report exactly which tensors were loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import ResNet50_Weights, VGG16_Weights

from worker.errors import Rejected, Transient

NONE, IMAGENET = "none", "imagenet"
IMAGENET_WEIGHTS = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V2,
    "vgg16": VGG16_Weights.IMAGENET1K_V1,
}


@dataclass(frozen=True, kw_only=True)
class PretrainedReport:
    """Which tensors were loaded. Names are torchvision's."""

    source: str
    """`none`, `imagenet` or the file's name (never its folder)."""
    loaded: tuple[str, ...]
    """In both, with the same shape."""
    random: tuple[str, ...]
    """In the network, not in the file: initialised at random."""
    unused: tuple[str, ...]
    """In the file, but with an unknown name or another shape."""

    def sentences(self) -> list[str]:
        """The report for a person, by modules instead of tensors."""
        rows = (
            ("loaded", self.loaded),
            ("initialised at random", self.random),
            ("in the file but not fitting", self.unused),
        )
        return [f"{len(names)} tensors {what}: {_modules(names)}" for what, names in rows]


def load_pretrained(model: nn.Module, architecture: str, source: str) -> PretrainedReport:
    """Copy every tensor that fits from `source` into `model`.

    `source`: `none`, `imagenet` (torchvision's own, needs internet once) or a safetensors file in
    torchvision's layout. Raises Rejected where the file is missing or nothing of it fits,
    Transient where it cannot be fetched.
    """
    own = model.state_dict()
    file = _read(architecture, source)
    fits = {k: v for k, v in file.items() if k in own and own[k].shape == v.shape}
    if file and not fits:
        raise Rejected(
            "PRETRAINED_DOES_NOT_FIT",
            f"No tensor of {Path(source).name} fits {architecture}; expected torchvision's names.",
        )
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in fits.items()}, strict=False)
    return PretrainedReport(
        source=Path(source).name,
        loaded=tuple(sorted(fits)),
        random=tuple(sorted(set(own) - set(fits))),
        unused=tuple(sorted(set(file) - set(fits))),
    )


def _read(architecture: str, source: str) -> dict[str, torch.Tensor]:
    if source == NONE:
        return {}
    if source == IMAGENET:
        return _fetched(architecture)
    if not Path(source).is_file():
        raise Rejected(
            "PRETRAINED_MISSING",
            f"There is no file {Path(source).name}; give a safetensors file, "
            f"`{IMAGENET}` or `{NONE}`.",
        )
    try:
        return load_file(source)
    except SafetensorError:
        raise Rejected(
            "PRETRAINED_UNREADABLE",
            f"{Path(source).name} is no safetensors file, or it was cut short. Convert a pickled "
            "checkpoint where you trust it, and give the safetensors file.",
        ) from None


def _fetched(architecture: str) -> dict[str, torch.Tensor]:
    """Torchvision's own weights, from its cache or the internet."""
    try:
        state: dict[str, torch.Tensor] = IMAGENET_WEIGHTS[architecture].get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:  # unreachable, or not the published file
        raise Transient(
            "PRETRAINED_NOT_FETCHED",
            f"torchvision's ImageNet weights of {architecture} could not be fetched "
            f"({type(error).__name__}). Without internet give a safetensors file "
            "(--pretrained FILE), or put torchvision's into hub/checkpoints of TORCH_HOME.",
        ) from None
    return state


def _modules(names: tuple[str, ...]) -> str:
    """`layer3.0.conv1.weight, layer3.0.bn1.bias, fc.1.weight` -> `layer3.0, fc.1`."""
    return ", ".join(sorted({".".join(name.split(".")[:2]) for name in names})) or "-"
