"""What a capture shows of a frame: the radiograph as the network saw it, and where it looked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from pydicom.dataset import Dataset

from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.model.architectures import Network
from worker.model.saliency import grad_cam

LONGEST_SIDE = 1024
"""Of a radiograph that waits to be drawn; a detector's 3000 x 2500 need not lie in memory for that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One frame, ready to be drawn."""

    pixels: np.ndarray
    """float32 (H, W) in [0, 1], white where the body absorbs, in the frame's own proportions."""
    heat: np.ndarray
    """float32 (S, S) in [0, 1] over the whole frame: Grad-CAM, bright where the picture spoke for
    pneumonia; its greatest value is 1 whatever the probability."""


def picture_of(
    dataset: Dataset, frame_number: int, model: Network, spec: PreprocessingSpec
) -> Picture:
    """Normalise one frame, counted from 1, as for prediction, and ask where the network looked.

    `model`: on the CPU. From here on torch computes on one core in this process: with another number
    of them it adds up in another order, and the answer is another in its last digits. Raises
    RefusedInstance, as `normalise_frame` does.
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    frame = normalise_frame(dataset, spec, frame_number).pixels
    heat = grad_cam(model, preprocess(frame, spec)[None])[0]
    return Picture(pixels=shrunk(frame, LONGEST_SIDE), heat=heat.numpy())


def shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
    """float32 (H, W) -> the same proportions with no side above `longest`; smaller ones stay."""
    scale = min(1.0, longest / max(pixels.shape))
    return resized(pixels, tuple(max(1, round(side * scale)) for side in pixels.shape))


def resized(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """float32 (H, W) -> (*size), without folding detail into noise where it shrinks.

    By Pillow, which adds up in one order on every processor.
    """
    if pixels.shape == size:
        return pixels
    plane = Image.fromarray(pixels.astype(np.float32))
    large = plane.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(large).clip(0.0, 1.0)
