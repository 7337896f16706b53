"""The outputs of frozen stages for each training image, computed once and used in every epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.data.planes import plane_batches
from training.fit.augmentation import Augmentation, augment
from training.fit.device import TrainingDevice
from worker.errors import Resource
from worker.imaging.preprocessing import PreprocessingSpec, standardise


@contextmanager
def cached_activations(
    prefix: nn.Module,
    planes: np.ndarray,
    *,
    side: int,
    spec: PreprocessingSpec,
    augmentation: Augmentation,
    seed: int,
    device: TrainingDevice,
    folder: Path,
) -> Iterator[torch.Tensor]:
    """Memory-mapped bf16 (n, C, h, w): `prefix` of one augmented view of each plane uint8 (n, S, S).

    The same seed gives the same views, so that a resumed run computes the same again. The file is
    removed at the end. Raises Resource("ACTIVATIONS_NOT_WRITTEN") where the disk is full.
    """
    path = folder / f"activations-{device.rank}.bf16"
    draw = torch.Generator(device.device).manual_seed(seed)
    cache, done = torch.empty(0), 0
    try:
        for batch in plane_batches(planes, 32):
            images = standardise(augment(batch, draw, augmentation, side), spec)
            with torch.no_grad(), device.autocast():
                outputs = prefix(images.to(memory_format=torch.channels_last)).bfloat16().cpu()
            if done == 0:
                cache = _reserve(path, (len(planes), *outputs.shape[1:]))
            cache[done : done + len(outputs)] = outputs
            done += len(outputs)
        yield cache
    finally:
        path.unlink(missing_ok=True)


def _reserve(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """A file of the right length, really on disk: a hole in it would end the process later."""
    length = 2 * int(np.prod(shape))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, length)
    except OSError as error:
        raise Resource(
            "ACTIVATIONS_NOT_WRITTEN",
            f"{length / 1e9:.1f} GB for cached activations could not be reserved "
            f"({error.strerror}). Free space, or set cached = false in the configuration.",
        ) from None
    return torch.from_file(str(path), shared=True, size=length // 2, dtype=torch.bfloat16).view(
        shape
    )
