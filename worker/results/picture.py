"""The picture of a frame for a capture: the radiograph as the network saw it, and its saliency."""

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
"""Of a radiograph that waits to be drawn; a detector's 3000 x 2500 would only fill the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One frame, ready for drawing."""

    pixels: np.ndarray
    """float32 (H, W) in [0, 1], white where the body absorbs, in the frame's own proportions."""
    heat: np.ndarray
    """float32 (S, S) in [0, 1] over the whole frame: Grad-CAM, high where the picture indicates
    pneumonia; its maximum is 1 whatever the probability."""


def picture_of(
    dataset: Dataset, frame_number: int, model: Network, spec: PreprocessingSpec
) -> Picture:
    """Normalise one frame as for prediction, and compute where the network looked.

    From here on torch computes on one core in this process: with another number of cores it sums in
    another order, and the last digits of the result change.

    Args:
        dataset: The instance with its pixels.
        frame_number: From 1.
        model: The network, on the CPU.
        spec: The model's preprocessing.

    Raises:
        RefusedInstance: As from `normalise_frame`.
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    frame = normalise_frame(dataset, spec, frame_number).pixels
    heat = grad_cam(model, preprocess(frame, spec)[None])[0]
    return Picture(pixels=shrunk(frame, LONGEST_SIDE), heat=heat.numpy())


def shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Shrink float32 (H, W) in its proportions until no side exceeds `longest`."""
    scale = min(1.0, longest / max(pixels.shape))
    return resized(pixels, tuple(max(1, round(side * scale)) for side in pixels.shape))


def resized(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize float32 (H, W) to `size` without aliasing.

    Pillow does it, since it sums in the same order on every processor.
    """
    if pixels.shape == size:
        return pixels
    plane = Image.fromarray(pixels.astype(np.float32))
    large = plane.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(large).clip(0.0, 1.0)
