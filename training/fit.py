"""Fine-tune a network: the loop, visible from top to bottom.

Each epoch draws, augments and drops out by a seed of its own, so that a run that was ended between
epochs, however roughly, continues as if nothing had happened.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.augmentation import Augmentation, augment
from training.metrics import auroc
from training.recipes import Recipe
from worker.errors import Rejected, Transient
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images of one part of the split."""

    planes: np.ndarray
    """uint8 (n, S, S)."""
    labels: np.ndarray
    """int64 (n,), 0 NORMAL, 1 PNEUMONIA."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells after each step."""

    epoch: int
    """From 1."""
    step: int
    """From 1, within the epoch."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Running mean of this epoch."""
    validation_auroc: float | None = None
    """Of the averaged weights; only after an epoch's last step."""


@dataclass
class State:
    """All that a run needs to go on; what `checkpoint.pt` holds."""

    model: Network
    average: Network
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: Network,
    recipe: Recipe,
    train: Part,
    validation: Part,
    *,
    spec: PreprocessingSpec,
    seed: int,
    checkpoint: Path,
    identity: str,
    resume: bool = False,
    tell: Callable[[Progress], None] = lambda _: None,
) -> State:
    """Train `model` by `recipe` and return the state after the last epoch.

    `identity` names data, split and recipe: a checkpoint of another run is refused. The averaged
    weights (`State.average`) are what is to be released.
    """
    state = begin(model, recipe)
    if resume and checkpoint.exists():
        load_checkpoint(state, checkpoint, identity)
    while state.epoch < recipe.epochs:
        loss = train_one_epoch(state, recipe, train, spec=spec, seed=seed, tell=tell)
        score = auroc(validation.labels, predict(state.average, validation.planes, spec))
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss, "validation_auroc": score})
        save_checkpoint(state, checkpoint, identity)
        steps = steps_of(train, recipe)
        tell(
            Progress(epoch=state.epoch, step=steps, steps=steps, loss=loss, validation_auroc=score)
        )
    return state


def begin(model: Network, recipe: Recipe) -> State:
    """A fresh state: only the recipe's stages learn, each at its own rate."""
    model = model.to(memory_format=torch.channels_last)
    model.requires_grad_(requires_grad=False)
    groups = []
    for name, rate in recipe.rates.items():
        stage = model.stages()[name].requires_grad_(requires_grad=True)
        groups += _groups(stage, rate, recipe.weight_decay)
    optimiser = torch.optim.AdamW(groups)
    return State(model=model, average=copy.deepcopy(model).eval(), optimiser=optimiser)


def train_one_epoch(
    state: State,
    recipe: Recipe,
    train: Part,
    *,
    spec: PreprocessingSpec,
    seed: int,
    tell: Callable[[Progress], None],
) -> float:
    """One pass; returns the mean loss. Ends in the same weights for the same seed and epoch."""
    torch.manual_seed(seed * 1000 + state.epoch)  # dropout
    draw = torch.Generator().manual_seed(seed * 1000 + state.epoch)
    steps, total = steps_of(train, recipe), 0.0
    set_modes(state.model, recipe)
    for step, rows in enumerate(balanced_batches(train.labels, recipe.batch_size, steps, draw)):
        set_rates(state.optimiser, recipe, state.epoch * steps + step, recipe.epochs * steps)
        images = augment(torch.from_numpy(train.planes[rows])[:, None], draw, Augmentation())
        labels = torch.from_numpy(train.labels[rows]).float()
        loss = loss_of(state.model, recipe, standardise(images, spec), labels)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(
            [p for p in state.model.parameters() if p.requires_grad], recipe.clip_norm
        )
        state.optimiser.step()
        average_weights(state, recipe.average_decay, state.epoch * steps + step)
        total += float(loss.detach())
        tell(Progress(epoch=state.epoch + 1, step=step + 1, steps=steps, loss=total / (step + 1)))
    return total / steps


def loss_of(
    model: Network, recipe: Recipe, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Smoothed binary cross-entropy; frozen stages run without gradients, all in bf16."""
    x = images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learning = False
        for name, stage in model.stages().items():
            learning = learning or name in recipe.rates
            with torch.set_grad_enabled(learning):
                x = stage(x)
    targets = labels * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    return binary_cross_entropy_with_logits(x.float().squeeze(1), targets)


def balanced_batches(
    labels: np.ndarray, size: int, steps: int, draw: torch.Generator
) -> Iterator[np.ndarray]:
    """Row numbers (size,), half of each class; a class starts over in a new order when it is used up."""
    feeds = [_endless(np.flatnonzero(labels == label), draw) for label in (0, 1)]
    for _ in range(steps):
        rows = [next(feeds[i % 2]) for i in range(size)]
        yield np.array(rows)


def predict(model: Network, planes: np.ndarray, spec: PreprocessingSpec) -> np.ndarray:
    """Logits float32 (n,) of planes uint8 (n, S, S), in bf16 and evaluation mode."""
    model.eval()
    logits = []
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for start in range(0, len(planes), 32):
            batch = torch.from_numpy(planes[start : start + 32].copy())[:, None].float() / 255
            x = standardise(batch, spec).to(memory_format=torch.channels_last)
            logits.append(model(x).float())
    return torch.cat(logits).numpy()


def steps_of(train: Part, recipe: Recipe) -> int:
    """Steps of an epoch: as many images as there are, at least one step."""
    return max(1, len(train.labels) // recipe.batch_size)


def set_modes(model: Network, recipe: Recipe) -> None:
    """Training mode where the recipe learns; batch norm keeps its statistics where it says so."""
    model.eval()
    for name in recipe.rates:
        stage = model.stages()[name]
        stage.train()
        if name in recipe.frozen_statistics:
            for module in stage.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()


def set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    """Linear warm-up, then half a cosine to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    factor = warm * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


@torch.no_grad()
def average_weights(state: State, decay: float, step: int) -> None:
    """Move the averaged network a little towards the current one; faster at the beginning."""
    decay = min(decay, (1 + step) / (10 + step))
    pairs = zip(state.average.state_dict().values(), state.model.state_dict().values(), strict=True)
    for slow, fast in pairs:
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def save_checkpoint(state: State, path: Path, identity: str) -> None:
    """Write the state so that there is always one whole checkpoint on disk."""
    part = path.with_suffix(".part")
    content = {
        "identity": identity,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "epoch": state.epoch,
        "history": state.history,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, part)
        part.replace(path)
    except OSError as error:
        raise Transient(
            "CHECKPOINT_NOT_WRITTEN",
            f"The checkpoint of epoch {state.epoch} could not be written ({error.strerror}); the "
            "one before it is kept. Free space and go on with --resume.",
        ) from None


def load_checkpoint(state: State, path: Path, identity: str) -> None:
    """Put a checkpoint back. Raises Rejected if it belongs to another run."""
    content = torch.load(path, weights_only=True)
    if content["identity"] != identity:
        raise Rejected(
            "CHECKPOINT_OF_ANOTHER_RUN",
            "The checkpoint in the output folder was made with other data, another split or "
            "another recipe. Choose another --output, or leave --resume out to start anew.",
        )
    state.model.load_state_dict(content["model"])
    state.average.load_state_dict(content["average"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.epoch, state.history = content["epoch"], content["history"]


def _groups(stage: nn.Module, rate: float, decay: float) -> list[dict]:
    """Weights decay; biases and batch norm (one-dimensional) do not."""
    weights = [p for p in stage.parameters() if p.ndim > 1]
    free = [p for p in stage.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay},
        {"params": free, "lr": rate, "peak": rate, "weight_decay": 0.0},
    ]


def _endless(rows: np.ndarray, draw: torch.Generator) -> Iterator[int]:
    """All rows in random order, again and again."""
    while True:
        yield from rows[torch.randperm(len(rows), generator=draw).numpy()].tolist()
