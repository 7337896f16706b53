"""Fine-tune a network: the loop, visible from top to bottom.

Each epoch draws, augments and drops out by a seed of its own, so that a run that was ended between
epochs, however abruptly, continues as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.data.data_set import LabelledPlanes
from training.evaluate.metrics import auroc
from training.evaluate.predictions import logits_of
from training.fit.activations import cached_activations
from training.fit.augmentation import augment
from training.fit.checkpoint import TrainingState, fresh_state, load_checkpoint, save_checkpoint
from training.fit.configuration import Configuration, Phase
from training.fit.device import TrainingDevice
from training.fit.optimisation import (
    make_optimiser,
    set_learning_rates,
    set_modes,
    split_network,
    unfreeze,
    update_average,
)
from training.fit.progress import TrainingProgress
from worker.errors import Resource
from worker.imaging.preprocessing import PreprocessingSpec, standardise
from worker.model.architectures import Network


@dataclass(frozen=True, kw_only=True)
class Training:
    """What stays the same from the first step to the last."""

    configuration: Configuration
    """Every value."""
    train: LabelledPlanes
    """To learn from."""
    validation: LabelledPlanes | None
    """Measured after each epoch; None where nothing is held out."""
    spec: PreprocessingSpec
    """The recipe that serving will use."""
    seed: int
    """Of order, augmentation and dropout."""
    folder: Path
    """Where checkpoint.pt and weights.safetensors are kept."""
    identity: str
    """Of images, split and configuration: a checkpoint of another run is refused."""
    device: TrainingDevice
    """Of this process."""
    on_step: Callable[[TrainingProgress], None] = lambda _: None
    """Called after each step, and again at the end of an epoch."""

    def steps(self) -> int:
        """Steps of an epoch: as many images as there are, at least one step."""
        return max(1, len(self.train.labels) // self.configuration.batch_size)

    def seed_of(self, epoch: int) -> int:
        """Of one epoch; the processes of one step differ."""
        return (self.seed * 1000 + epoch) * 64 + self.device.rank


def fit(model: Network, training: Training, *, resume: bool = False) -> TrainingState:
    """Train `model` by the configuration and return the state after the last epoch.

    The averaged weights of the kept epoch are in FOLDER/weights.safetensors. Raises Rejected where
    a checkpoint belongs to another run, Transient where one cannot be written, Resource where a
    single image is too much for the device's memory.
    """
    state = fresh_state(model, training.device)
    if resume:
        load_checkpoint(state, training.folder, training.identity)
    while state.epoch < training.configuration.epochs and not stops_early(state, training):
        phase, first = training.configuration.phase_at(state.epoch)
        run_phase(state, training, phase, first)
    return state


def stops_early(state: TrainingState, training: Training) -> bool:
    """Whether early stopping ends the run: the last phase has gone `patience` epochs without gain."""
    configuration = training.configuration
    before_last = configuration.epochs - configuration.phases[-1].epochs
    waited = state.epoch - max(state.best_epoch, before_last)
    return 0 < configuration.patience <= waited and state.epoch > before_last


def run_phase(state: TrainingState, training: Training, phase: Phase, first: int) -> None:
    """The epochs of one phase, from its `first` that is still to be done."""
    prefix, suffix = split_network(state.model, phase)
    unfreeze(state.model, phase)
    state.optimiser = make_optimiser(state.model, phase, training.configuration.weight_decay)
    if first > 0 and state.optimiser_state:
        state.optimiser.load_state_dict(state.optimiser_state)
    learner = training.device.distribute(suffix)
    with activations_of(prefix, training, phase) as cache:
        for nth in range(first, phase.epochs):
            loss = train_one_epoch(state, training, phase, nth, prefix, learner, cache)
            finish_epoch(state, training, phase, loss)
            if stops_early(state, training):
                return


def train_one_epoch(
    state: TrainingState,
    training: Training,
    phase: Phase,
    nth: int,
    prefix: nn.Module,
    learner: nn.Module,
    cache: torch.Tensor | None,
) -> float:
    """One pass; returns the mean loss. Ends in the same weights for the same seed and epoch."""
    assert state.optimiser is not None
    configuration, device, steps = training.configuration, training.device, training.steps()
    torch.manual_seed(training.seed_of(state.epoch))  # dropout
    order = torch.Generator().manual_seed(training.seed * 1000 + state.epoch)
    draw = torch.Generator(device.device).manual_seed(training.seed_of(state.epoch))
    set_modes(state.model, phase)
    total, began = 0.0, time.monotonic()
    for step, rows in enumerate(batches(training.train.labels, configuration, steps, order)):
        set_learning_rates(state.optimiser, configuration, nth * steps + step, phase.epochs * steps)
        local = rows[device.local_rows(len(rows))]
        labels = torch.from_numpy(training.train.labels[local]).float().to(device.device)
        if cache is not None:
            inputs = cache[torch.from_numpy(local)].to(device.device)
        else:
            planes = torch.from_numpy(training.train.planes[local])[:, None]
            images = augment(planes, draw, configuration.augmentation, phase.side)
            inputs = standardise(images, training.spec).to(memory_format=torch.channels_last)
        loss = take_step(
            state, training, inputs, labels, prefix if cache is None else None, learner
        )
        update_average(state, configuration.average_decay)
        state.steps += 1
        total += loss
        training.on_step(
            TrainingProgress(
                phase=phase.name,
                epoch=state.epoch + 1,
                step=step + 1,
                steps=steps,
                loss=total / (step + 1),
                images_per_s=(step + 1) * len(rows) / (time.monotonic() - began),
            )
        )
    return total / steps


def take_step(
    state: TrainingState,
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
                backward(training, piece, piece_labels, len(labels), prefix, learner)
                for piece, piece_labels in zip(
                    inputs.chunk(pieces), labels.chunk(pieces), strict=True
                )
            )
            break
        except torch.OutOfMemoryError:
            if pieces >= len(labels) or training.device.world_size > 1:
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
    batch_size: int,
    prefix: nn.Module | None,
    learner: nn.Module,
) -> float:
    """Add the gradients of these images' share of a batch; return their share of its mean loss."""
    with training.device.autocast():
        if prefix is not None:
            with torch.no_grad():
                inputs = prefix(inputs)
        logits = learner(inputs)
    smoothing = training.configuration.label_smoothing
    targets = labels * (1 - smoothing) + smoothing / 2
    loss = binary_cross_entropy_with_logits(logits.float().squeeze(1), targets, reduction="sum")
    loss = loss / batch_size
    loss.backward()
    return float(loss.detach())


def finish_epoch(state: TrainingState, training: Training, phase: Phase, loss: float) -> None:
    """Measure the held-out images, keep the better weights, write the checkpoint, report."""
    score = None
    if training.validation is not None:
        if training.device.is_main:
            score = validation_auroc(state.average, training.validation, training)
        score = training.device.broadcast(score)  # so that all processes stop together
    state.close_epoch(
        phase.name, loss, score, tolerance=training.configuration.tolerance,
        last_phase=phase is training.configuration.phases[-1],
    )  # fmt: skip
    if training.device.is_main:
        save_checkpoint(state, training.folder, training.identity)
    training.device.barrier()
    steps = training.steps()
    training.on_step(
        TrainingProgress(
            phase=phase.name,
            epoch=state.epoch,
            step=steps,
            steps=steps,
            loss=loss,
            epoch_ended=True,
            validation_auroc=score,
        )
    )


def validation_auroc(model: Network, images: LabelledPlanes, training: Training) -> float:
    """AUROC of a network in evaluation mode, computed in bf16."""
    with training.device.autocast():
        return auroc(images.labels, logits_of(model, images.planes, training.spec))


def activations_of(
    prefix: nn.Sequential, training: Training, phase: Phase
) -> AbstractContextManager[torch.Tensor | None]:
    """The cache of a phase that has one, else None."""
    prefix.eval()
    if not (phase.cached and len(prefix)):
        return nullcontext(None)
    return cached_activations(
        prefix,
        training.train.planes,
        side=phase.side,
        spec=training.spec,
        augmentation=training.configuration.augmentation,
        seed=training.seed,
        device=training.device,
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
