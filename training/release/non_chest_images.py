"""Pictures that are no upright chest radiograph, to measure what the guard refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate

from training.data.decoding import load_tensor
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec

COUNT = 120
"""Radiographs that are rotated and inverted; photographs and noise are half as many."""


def non_chest_images(
    radiographs: np.ndarray, spec: PreprocessingSpec, folders: Sequence[Path] = ()
) -> dict[str, np.ndarray]:
    """Kind -> planes uint8 (n, S, S).

    `radiographs` uint8 (m, S, S): some of them are rotated and inverted. `folders`: files of any
    format that is read here, each folder a kind by its name.
    """
    some = np.array(radiographs[:COUNT])
    rng = np.random.default_rng(0)
    kinds = {
        "radiographs turned by 90 degrees": np.stack(
            [np.rot90(plane, 1 + 2 * (row % 2)) for row, plane in enumerate(some)]
        ),
        "inverted radiographs": 255 - some,
        "photographs": np.stack(list(_photographs(rng, spec.size, len(some) // 4))),
        "noise": np.stack(list(_noise(rng, spec.size, len(some) // 8))),
        "blank": np.stack([np.full((spec.size,) * 2, v, np.uint8) for v in range(0, 256, 15)]),
    }
    for folder in folders:
        found = [plane for path in sorted(folder.iterdir()) for plane in _readable(path, spec)]
        if found:
            kinds[folder.name] = np.stack(found)
    return kinds


def _photographs(rng: np.random.Generator, size: int, of_each: int) -> Iterator[np.ndarray]:
    """Crops of the two photographs that come with scikit-learn, in grey."""
    for picture in load_sample_images().images:
        grey = picture.mean(axis=2)
        for _ in range(max(of_each, 1)):
            height, width = (int(side * rng.uniform(0.4, 1.0)) for side in grey.shape)
            top = rng.integers(0, grey.shape[0] - height + 1)
            left = rng.integers(0, grey.shape[1] - width + 1)
            yield _squashed(grey[top : top + height, left : left + width], size)


def _noise(rng: np.random.Generator, size: int, of_each: int) -> Iterator[np.ndarray]:
    """White noise, coarse noise, salt, and noise with the spectrum of natural pictures."""
    for _ in range(max(of_each, 1)):
        yield rng.integers(0, 256, (size, size)).astype(np.uint8)
        yield _squashed(rng.integers(0, 256, (28, 28)).astype(np.float32), size)
        yield (rng.random((size, size)) < 0.1).astype(np.uint8) * 255
        frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
        frequencies[0, 0] = 1 / size
        waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / frequencies).real
        yield ((waves - waves.min()) / np.ptp(waves) * 255).round().astype(np.uint8)


def _readable(path: Path, spec: PreprocessingSpec) -> Iterator[np.ndarray]:
    """The file's plane; nothing where it cannot be read: such a file is refused anyway."""
    try:
        tensor = load_tensor(path, spec)[0]
    except Rejected:
        return
    grey = tensor * spec.std[0] + spec.mean[0]
    yield (grey * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _squashed(grey: np.ndarray, size: int) -> np.ndarray:
    plane = torch.from_numpy(np.ascontiguousarray(grey, dtype=np.float32))[None, None]
    square = interpolate(plane, size=(size, size), mode="bilinear", antialias=True)
    return square[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()
