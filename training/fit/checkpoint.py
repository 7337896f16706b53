"""All that a run needs to go on after it was ended, and the weights that it would release.

FOLDER/checkpoint.pt         the state after the last whole epoch
FOLDER/weights.safetensors   the averaged weights of the kept epoch, for a release or a next run
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from training.data.files import complete_or_absent
from training.fit.device import TrainingDevice
from worker.errors import Rejected, Transient
from worker.model.architectures import Network

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"
_PLAIN_FIELDS = ("epoch", "steps", "best", "best_epoch", "kept_epoch", "history")


@dataclass
class TrainingState:
    """Everything that changes during a training."""

    model: Network
    """After the last step."""
    average: Network
    """The moving average of its weights, in evaluation mode."""
    optimiser: torch.optim.Optimizer | None = None
    """Of the current phase."""
    optimiser_state: dict[str, Any] | None = None
    """From the checkpoint, until the phase begins."""
    epoch: int = 0
    """Whole epochs done."""
    steps: int = 0
    """Steps done."""
    pieces: int = 1
    """Into how many pieces memory divides a batch."""
    best: float = 0.0
    """Best validation AUROC of the last phase."""
    best_epoch: int = 0
    """The last epoch with a better validation AUROC."""
    kept_epoch: int = 0
    """The epoch whose averaged weights are kept."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row an epoch."""

    def close_epoch(
        self, phase: str, loss: float, score: float | None, *, tolerance: float, last_phase: bool
    ) -> None:
        """Count the epoch, and decide whose weights are kept.

        Without held-out images, and before the last phase, that is always the latest. In the last
        phase it is the latest whose AUROC is within `tolerance` of the best.
        """
        self.epoch += 1
        if last_phase and score is not None:
            if score > self.best + tolerance:
                self.best_epoch = self.epoch
            self.best = max(self.best, score)
        if not last_phase or score is None or score >= self.best - tolerance:
            self.kept_epoch = self.epoch
        self.history.append(
            {"epoch": self.epoch, "phase": phase, "loss": loss, "validation_auroc": score}
        )


def fresh_state(model: Network, device: TrainingDevice) -> TrainingState:
    """The state before the first step, on the device."""
    model = model.to(device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    return TrainingState(model=model, average=average)


def save_checkpoint(state: TrainingState, folder: Path, identity: str) -> None:
    """Write the state so that there is always one whole checkpoint on disk. Raises Transient."""
    content = {
        "identity": identity,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict() if state.optimiser else None,
        **{name: getattr(state, name) for name in _PLAIN_FIELDS},
    }
    if state.kept_epoch == state.epoch:
        weights = {k: v.cpu().contiguous() for k, v in state.average.state_dict().items()}
        _write(folder / WEIGHTS, lambda part: save_file(weights, part), state.epoch)
    _write(folder / CHECKPOINT, lambda part: torch.save(content, part), state.epoch)


def load_checkpoint(state: TrainingState, folder: Path, identity: str) -> None:
    """Restore a checkpoint, if there is one. Raises Rejected if it belongs to another run."""
    if not (folder / CHECKPOINT).exists():
        return
    content = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu")
    if content["identity"] != identity:
        raise Rejected(
            "CHECKPOINT_OF_ANOTHER_RUN",
            "The checkpoint in the output folder was made with other data, another split, seed or "
            "configuration. Choose another --output, or leave --resume out to start anew.",
        )
    state.model.load_state_dict(content["model"])
    state.average.load_state_dict(content["average"])
    state.optimiser_state = content["optimiser"]
    for name in _PLAIN_FIELDS:
        setattr(state, name, content[name])


def read_history(folder: Path) -> list[dict[str, Any]]:
    """One row for each epoch of a run: phase, loss, validation AUROC."""
    content = torch.load(folder / CHECKPOINT, weights_only=True, map_location="cpu", mmap=True)
    rows: list[dict[str, Any]] = content["history"]
    return rows


def _write(path: Path, write: Callable[[Path], None], epoch: int) -> None:
    try:
        with complete_or_absent(path) as part:
            write(part)
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own
        reason = getattr(error, "strerror", None) or "the writer stopped"
        raise Transient(
            "CHECKPOINT_NOT_WRITTEN",
            f"{path.name} of epoch {epoch} could not be written ({reason}); the one before it is "
            "kept. Free space and go on with --resume.",
        ) from None
