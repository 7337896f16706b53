"""TensorBoard's log of a run: loss and images/s by step, validation AUROC by epoch."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from training.fit.progress import TrainingProgress


class TensorBoardLog:
    """Write events into a folder; a resumed run goes on in the same one."""

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self._writer = SummaryWriter(str(folder), flush_secs=30) if enabled else None

    def write(self, progress: TrainingProgress) -> None:
        """Record one step, or the end of an epoch."""
        if self._writer is None:
            return
        step = (progress.epoch - 1) * progress.steps + progress.step
        if not progress.epoch_ended:
            self._writer.add_scalar("loss", progress.loss, step)
            self._writer.add_scalar("images per second", progress.images_per_s, step)
        elif progress.validation_auroc is not None:
            self._writer.add_scalar("validation AUROC", progress.validation_auroc, step)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            self._writer.close()
