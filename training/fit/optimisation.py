"""What of a network learns in a phase, how fast, and the moving average of its weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.fit.checkpoint import TrainingState
from training.fit.configuration import Configuration, Phase
from worker.model.architectures import Network


def split_network(model: Network, phase: Phase) -> tuple[nn.Sequential, nn.Sequential]:
    """The frozen stages before the first learning one, and the rest; they share the parameters."""
    stages = model.stages()
    first = next(index for index, name in enumerate(stages) if name in phase.rates)
    parts = list(stages.values())
    return nn.Sequential(*parts[:first]), nn.Sequential(*parts[first:])


def unfreeze(model: Network, phase: Phase) -> None:
    """Let only the phase's stages learn."""
    model.requires_grad_(requires_grad=False)
    for name in phase.rates:
        model.stages()[name].requires_grad_(requires_grad=True)


def make_optimiser(model: Network, phase: Phase, decay: float) -> torch.optim.AdamW:
    """AdamW, each stage at its own rate. Weights decay; biases and batch norm (1-D) do not."""
    groups = []
    for name, rate in phase.rates.items():
        parameters = list(model.stages()[name].parameters())
        for is_weight, weight_decay in ((True, decay), (False, 0.0)):
            chosen = [p for p in parameters if (p.ndim > 1) is is_weight]
            groups.append(
                {"params": chosen, "lr": rate, "peak": rate, "weight_decay": weight_decay}
            )
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def set_modes(model: Network, phase: Phase) -> None:
    """Set training mode where the phase learns; frozen batch norm keeps its statistics."""
    model.eval()
    for name in phase.rates:
        stage = model.stages()[name]
        stage.train()
        if name in phase.frozen_statistics:
            for module in stage.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()


def set_learning_rates(
    optimiser: torch.optim.Optimizer, configuration: Configuration, step: int, steps: int
) -> None:
    """Linear warm-up, then half a cosine to zero, within a phase."""
    warm = min(1.0, (step + 1) / configuration.warmup_steps)
    factor = warm * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


@torch.no_grad()
def update_average(state: TrainingState, decay: float) -> None:
    """Move the averaged network a little towards the current one; faster at the beginning."""
    decay = min(decay, (1 + state.steps) / (10 + state.steps))
    slow, fast = state.average.state_dict(), state.model.state_dict()
    moving = [name for name, tensor in slow.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([slow[n] for n in moving], [fast[n] for n in moving], 1 - decay)
    for name in slow.keys() - set(moving):
        slow[name].copy_(fast[name])
