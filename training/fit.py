"""Fine-tune a network: the loop, visible from top to bottom.

Each epoch draws, augments and drops out by a seed of its own, so that a run that was ended between
epochs, however roughly, continues as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.activations import cached_activations
from training.augmentation import augment
from training.checkpoint import State, fresh_state, load_checkpoint, save_checkpoint
from training.configuration import Configuration, Phase
from training.device import Place
from training.metrics import auroc
from worker.errors import Resource
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

    phase: str
    """The phase's name."""
    epoch: int
    """From 1."""
    step: int
    """From 1, within the epoch."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Running mean of this epoch."""
    ended: bool = False
    """The epoch is over and its checkpoint on disk."""
    validation_auroc: float | None = None
    """Of the averaged weights, after an epoch; None where nothing is held out."""
    images_per_s: float = 0.0
    """Of this epoch so far, over all processes."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What stays the same from the first step to the last."""

    configuration: Configuration
    """Every value."""
    train: Part
    """Learnt from."""
    validation: Part | None
    """Looked at after each epoch; None where nothing is held out."""
    spec: PreprocessingSpec
    """The recipe that serving will use."""
    seed: int
    """Of order, augmentation and dropout."""
    folder: Path
    """Where checkpoint.pt and weights.safetensors are kept."""
    identity: str
    """Names images, split and configuration: a checkpoint of another run is refused."""
    place: Place
    """This process's device."""
    tell: Callable[[Progress], None] = lambda _: None
    """Called after each step."""

    def steps(self) -> int:
        """Steps of an epoch: as many images as there are, at least one step."""
        return max(1, len(self.train.labels) // self.configuration.batch_size)

    def seed_of(self, epoch: int) -> int:
        """Of one epoch; the processes of one step differ."""
        return (self.seed * 1000 + epoch) * 64 + self.place.rank


def fit(model: Network, training: Training, *, resume: bool = False) -> State:
    """Train `model` by the configuration and return the state after the last epoch.

    The averaged weights of the kept epoch lie in FOLDER/weights.safetensors. Raises Rejected where
    a checkpoint belongs to another run, Transient where one cannot be written, Resource where a
    single image is too much for the device's memory.
    """
    state = fresh_state(model, training.place)
    if resume:
        load_checkpoint(state, training.folder, training.identity)
    while state.epoch < training.configuration.epochs and not is_over(state, training):
        phase, first = training.configuration.phase_at(state.epoch)
        run_phase(state, training, phase, first)
    return state


def is_over(state: State, training: Training) -> bool:
    """Whether early stopping ends the run: the last phase has gone `patience` epochs without gain."""
    configuration = training.configuration
    before_last = configuration.epochs - configuration.phases[-1].epochs
    waited = state.epoch - max(state.best_epoch, before_last)
    return 0 < configuration.patience <= waited and state.epoch > before_last


def run_phase(state: State, training: Training, phase: Phase, first: int) -> None:
    """The epochs of one phase, from its `first` that is still to be done."""
    prefix, suffix = split_network(state.model, phase)
    thaw(state.model, phase)
    groups = parameter_groups(state.model, phase, training.configuration.weight_decay)
    state.optimiser = training.place.optimiser(groups)
    if first > 0 and state.optimiser_state:
        state.optimiser.load_state_dict(state.optimiser_state)
    learner = training.place.shared(suffix)
    with activations_of(prefix, training, phase) as cache:
        for nth in range(first, phase.epochs):
            loss = train_one_epoch(state, training, phase, nth, prefix, learner, cache)
            end_epoch(state, training, phase, loss)
            if is_over(state, training):
                return


def train_one_epoch(
    state: State,
    training: Training,
    phase: Phase,
    nth: int,
    prefix: nn.Module,
    learner: nn.Module,
    cache: torch.Tensor | None,
) -> float:
    """One pass; returns the mean loss. Ends in the same weights for the same seed and epoch."""
    configuration, place, steps = training.configuration, training.place, training.steps()
    torch.manual_seed(training.seed_of(state.epoch))  # dropout
    order = torch.Generator().manual_seed(training.seed * 1000 + state.epoch)
    draw = torch.Generator(place.device).manual_seed(training.seed_of(state.epoch))
    set_modes(state.model, phase)
    total, began = 0.0, time.monotonic()
    for step, rows in enumerate(batches(training.train.labels, configuration, steps, order)):
        set_rates(state, configuration, nth * steps + step, phase.epochs * steps)
        own = rows[place.own_rows(len(rows))]
        labels = torch.from_numpy(training.train.labels[own]).float().to(place.device)
        if cache is not None:
            inputs = cache[torch.from_numpy(own)].to(place.device)
        else:
            planes = torch.from_numpy(training.train.planes[own])[:, None]
            images = standardise(
                augment(planes, draw, configuration.augmentation, phase.side), training.spec
            )
            inputs = images.to(memory_format=torch.channels_last)
        loss = learn(state, training, inputs, labels, prefix if cache is None else None, learner)
        average_weights(state, configuration.average_decay, state.steps)
        state.steps += 1
        total += loss
        training.tell(
            Progress(
                phase=phase.name,
                epoch=state.epoch + 1,
                step=step + 1,
                steps=steps,
                loss=total / (step + 1),
                images_per_s=(step + 1) * len(rows) / (time.monotonic() - began),
            )
        )
    return total / steps


def learn(
    state: State,
    training: Training,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    prefix: nn.Module | None,
    learner: nn.Module,
) -> float:
    """One step on a batch, in as many pieces as the device's memory asks for; returns the loss."""
    assert state.optimiser is not None
    while True:
        pieces = state.pieces
        state.optimiser.zero_grad(set_to_none=True)
        try:
            loss = sum(
                backward(training, piece, marks, len(labels), prefix, learner)
                for piece, marks in zip(inputs.chunk(pieces), labels.chunk(pieces), strict=True)
            )
            break
        except torch.OutOfMemoryError:
            if pieces >= len(labels) or training.place.world > 1:
                raise _out_of_memory(len(labels) // pieces, inputs, state.epoch) from None
        state.pieces *= 2  # outside the handler, where the failed attempt's tensors are gone
        torch.cuda.empty_cache()
    learning = [p for p in state.model.parameters() if p.requires_grad]
    nn.utils.clip_grad_norm_(learning, training.configuration.clip_norm)
    state.optimiser.step()
    return float(loss)


def backward(
    training: Training,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    whole: int,
    prefix: nn.Module | None,
    learner: nn.Module,
) -> float:
    """Add the gradients of these images' share of a batch of `whole`; returns their share of loss."""
    with training.place.autocast():
        if prefix is not None:
            with torch.no_grad():
                inputs = prefix(inputs)
        logits = learner(inputs)
    smoothing = training.configuration.label_smoothing
    targets = labels * (1 - smoothing) + smoothing / 2
    loss = binary_cross_entropy_with_logits(logits.float().squeeze(1), targets, reduction="sum")
    loss = loss / whole
    loss.backward()
    return float(loss.detach())


def end_epoch(state: State, training: Training, phase: Phase, loss: float) -> None:
    """Look at the held-out images, keep the better weights, write the checkpoint, tell."""
    score = None
    if training.validation is not None and training.place.leads:
        said = predict(state.average, training.validation.planes, training.spec, training.place)
        score = auroc(training.validation.labels, said)
    score = _from_leader(score, training)
    state.close_epoch(
        phase.name, loss, score, tolerance=training.configuration.tolerance,
        last_phase=phase is training.configuration.phases[-1],
    )  # fmt: skip
    if training.place.leads:
        save_checkpoint(state, training.folder, training.identity)
    training.place.wait()
    steps = training.steps()
    training.tell(
        Progress(
            phase=phase.name,
            epoch=state.epoch,
            step=steps,
            steps=steps,
            loss=loss,
            ended=True,
            validation_auroc=score,
        )
    )


def split_network(model: Network, phase: Phase) -> tuple[nn.Sequential, nn.Sequential]:
    """The frozen stages before the first learning one, and the rest; they share the parameters."""
    stages = model.stages()
    first = next(place for place, name in enumerate(stages) if name in phase.rates)
    parts = list(stages.values())
    return nn.Sequential(*parts[:first]), nn.Sequential(*parts[first:])


def activations_of(
    prefix: nn.Sequential, training: Training, phase: Phase
) -> AbstractContextManager[torch.Tensor | None]:
    """The cache of a phase that has one, else nothing."""
    prefix.eval()
    if not (phase.cached and len(prefix)):
        return nullcontext(None)
    return cached_activations(
        prefix,
        training.train.planes,
        side=phase.side,
        spec=training.spec,
        how=training.configuration.augmentation,
        seed=training.seed,
        place=training.place,
        folder=training.folder,
    )


def batches(
    labels: np.ndarray, configuration: Configuration, steps: int, order: torch.Generator
) -> Iterator[np.ndarray]:
    """Row numbers (size,); half of each class where the configuration says balanced.

    A class starts over in a new order when it is used up.
    """
    size = configuration.batch_size
    if configuration.balanced:
        feeds = [_endless(np.flatnonzero(labels == label), order) for label in (0, 1)]
    else:
        feeds = [_endless(np.arange(len(labels)), order)]
    for _ in range(steps):
        yield np.array([next(feeds[i % len(feeds)]) for i in range(size)])


def predict(
    model: Network, planes: np.ndarray, spec: PreprocessingSpec, place: Place
) -> np.ndarray:
    """Logits float32 (n,) of planes uint8 (n, S, S), in bf16 and evaluation mode."""
    model.eval()
    logits = []
    with torch.inference_mode(), place.autocast():
        for start in range(0, len(planes), 32):
            batch = torch.from_numpy(planes[start : start + 32].copy())[:, None].to(place.device)
            x = standardise(batch.float() / 255, spec).to(memory_format=torch.channels_last)
            logits.append(model(x).float().cpu())
    return torch.cat(logits).numpy()


def thaw(model: Network, phase: Phase) -> None:
    """Only the phase's stages learn."""
    model.requires_grad_(requires_grad=False)
    for name in phase.rates:
        model.stages()[name].requires_grad_(requires_grad=True)


def parameter_groups(model: Network, phase: Phase, decay: float) -> list[dict]:
    """Each stage at its own rate. Weights decay; biases and batch norm (one-dimensional) do not."""
    groups = []
    for name, rate in phase.rates.items():
        parameters = list(model.stages()[name].parameters())
        for wanted, weight_decay in ((True, decay), (False, 0.0)):
            chosen = [p for p in parameters if (p.ndim > 1) is wanted]
            groups.append(
                {"params": chosen, "lr": rate, "peak": rate, "weight_decay": weight_decay}
            )
    return [group for group in groups if group["params"]]


def set_modes(model: Network, phase: Phase) -> None:
    """Training mode where the phase learns; batch norm keeps its statistics where it says so."""
    model.eval()
    for name in phase.rates:
        stage = model.stages()[name]
        stage.train()
        if name in phase.frozen_statistics:
            for module in stage.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()


def set_rates(state: State, configuration: Configuration, step: int, steps: int) -> None:
    """Linear warm-up, then half a cosine to zero, within a phase."""
    assert state.optimiser is not None
    warm = min(1.0, (step + 1) / configuration.warmup_steps)
    factor = warm * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in state.optimiser.param_groups:
        group["lr"] = group["peak"] * factor


@torch.no_grad()
def average_weights(state: State, decay: float, step: int) -> None:
    """Move the averaged network a little towards the current one; faster at the beginning."""
    decay = min(decay, (1 + step) / (10 + step))
    slow, fast = state.average.state_dict(), state.model.state_dict()
    moving = [name for name, tensor in slow.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([slow[n] for n in moving], [fast[n] for n in moving], 1 - decay)
    for name in slow.keys() - set(moving):
        slow[name].copy_(fast[name])


def _from_leader(score: float | None, training: Training) -> float | None:
    """The leader's figure in every process, so that all stop together."""
    if training.place.world == 1 or training.validation is None:
        return score
    value = torch.tensor([score or 0.0], dtype=torch.float64, device=training.place.device)
    torch.distributed.broadcast(value, 0)
    return float(value)


def _endless(rows: np.ndarray, order: torch.Generator) -> Iterator[int]:
    """All rows in random order, again and again."""
    while True:
        yield from rows[torch.randperm(len(rows), generator=order).numpy()].tolist()


def _out_of_memory(images: int, inputs: torch.Tensor, epoch: int) -> Resource:
    return Resource(
        "OUT_OF_MEMORY",
        f"The device's memory does not hold {images} image(s) of side {inputs.shape[-1]} in "
        f"training. The checkpoint of epoch {epoch} is kept; free the device, or choose a smaller "
        "side or fewer learning stages in the configuration.",
    )
