"""A bundle's test pictures, and what its network and guard said of them where it was made."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network
from worker.model.manifest import BundleRefused
from worker.model.wrong_image import WrongImageGuard

GOLDEN_TOLERANCE = 0.02
"""Logits, and distances by share, may differ so much between machines; another weight or recipe
moves them far more."""
_CPU = torch.device("cpu")


def golden_planes(size: int) -> torch.Tensor:
    """Four made-up pictures, uint8 (4, S, S): a ramp, a disc, stripes, seeded noise."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    noise = torch.rand(size, size, generator=torch.Generator().manual_seed(20261123))
    pictures = [(x + 1) / 2, (x**2 + y**2 < 0.5).float(), (torch.sin(12 * y) + 1) / 2, noise]
    return (torch.stack(pictures) * 255).round().to(torch.uint8)


def golden_answers(
    model: Network,
    guard: WrongImageGuard | None,
    planes: torch.Tensor,
    spec: PreprocessingSpec,
    device: torch.device = _CPU,
) -> dict[str, torch.Tensor]:
    """Return what network and guard say of planes, computed in fp32.

    Args:
        model: The network, on `device`.
        guard: The bundle's guard, if it has one.
        planes: uint8 (n, S, S).
        spec: The bundle's recipe.
        device: Where to compute.

    Returns:
        `logits`, and `distances` if there is a guard: float32 (n,), on the CPU.
    """
    with torch.inference_mode():
        inputs = standardise(planes[:, None].float() / 255, spec)
        features, logits = model.features_and_logits(inputs.to(device))
        answers = {"logits": logits}
        if guard is not None:
            answers["distances"] = guard.to(device).distance(features)
    return {name: figures.float().cpu().contiguous() for name, figures in answers.items()}


def check_golden(
    golden: Mapping[str, torch.Tensor],
    model: Network,
    guard: WrongImageGuard | None,
    spec: PreprocessingSpec,
    device: torch.device = _CPU,
) -> None:
    """Check that network and guard say what they said where the bundle was made.

    Args:
        golden: The tensors of the golden file.
        model: The network, on `device`.
        guard: The bundle's guard, if it has one.
        spec: The bundle's recipe.
        device: Where to compute.

    Raises:
        BundleRefused: GOLDEN_ANSWERS_MISSING, GOLDEN_LOGITS_OFF, GOLDEN_DISTANCES_OFF.
    """
    asked = {"planes", "logits"} | ({"distances"} if guard else set())
    if missing := asked - golden.keys():
        raise BundleRefused(
            "GOLDEN_ANSWERS_MISSING",
            f"The file of test pictures lacks {', '.join(sorted(missing))}. Export the bundle again.",
        )
    said = golden_answers(model, guard, golden["planes"], spec, device)
    off = (said["logits"] - golden["logits"]).abs().max().item()
    if not off <= GOLDEN_TOLERANCE:  # also when it is NaN
        raise BundleRefused(
            "GOLDEN_LOGITS_OFF",
            f"The network's logits on the bundle's own test pictures are off by {off:.3g}; at most "
            f"{GOLDEN_TOLERANCE:g} is expected. The weights, or this machine's arithmetic, are not "
            "what they were: do not predict with it.",
        )
    if guard is None:
        return
    off = (said["distances"] / golden["distances"] - 1).abs().max().item()
    if not off <= GOLDEN_TOLERANCE:
        raise BundleRefused(
            "GOLDEN_DISTANCES_OFF",
            f"The distances of the bundle's own test pictures are off by {off:.2%}; at most "
            f"{GOLDEN_TOLERANCE:.0%} is expected. The wrong-image guard, or this machine's "
            "arithmetic, is not what it was: do not predict with it.",
        )
