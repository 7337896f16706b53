"""Decode one file, in the two forms that are needed.

decode_plane  uint8 (S, S), which training keeps in the cache
load_tensor   float32 (3, S, S), which an evaluation of a DICOM set gives to the network: bit for
              bit what a worker makes of the file
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from training.data.class_folders import UNREADABLE, UNREADABLE_SENTENCE
from training.data.radiograph import Encoding
from worker.errors import Rejected
from worker.imaging.dicom_files import looks_like_dicom
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.reading import read_dataset


def decode_plane(path: Path, encoding: Encoding, spec: PreprocessingSpec) -> np.ndarray:
    """One file as uint8 (S, S), squashed with antialias as `preprocess` does.

    A picture that has side S already comes through unchanged, so that `plane / 255` standardised
    is bit for bit what `preprocess` makes of it. Raises Rejected: IMAGE_UNREADABLE, or a worker's
    refusal.
    """
    if encoding is Encoding.DICOM:
        return _squash(_read_frame(path, spec) * 255, spec.size)
    grey = _read_picture(path)
    return grey if grey.shape == (spec.size, spec.size) else _squash(grey, spec.size)


def load_tensor(path: Path, spec: PreprocessingSpec) -> torch.Tensor:
    """One file as float32 (3, S, S), by the functions that a worker calls. Raises Rejected.

    Of a picture: its grey levels over 255, resized without rounding.
    """
    if _is_dicom(path):
        return preprocess(_read_frame(path, spec), spec)
    return preprocess(_read_picture(path).astype(np.float32) / 255, spec)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file)
    except OSError:
        raise Rejected(UNREADABLE, UNREADABLE_SENTENCE) from None


def _read_frame(path: Path, spec: PreprocessingSpec) -> np.ndarray:
    """The normalised frame float32 (H, W) in [0, 1] of a DICOM file. Raises Rejected."""
    try:
        return normalise_frame(read_dataset(path), spec).pixels
    except OSError:
        raise Rejected(UNREADABLE, UNREADABLE_SENTENCE) from None


def _squash(grey: np.ndarray, size: int) -> np.ndarray:
    """Grey levels (H, W) in [0, 255] of any type -> uint8 (S, S)."""
    plane = torch.from_numpy(grey)[None, None].float()  # (1, 1, H, W)
    square = interpolate(plane, size=(size, size), mode="bilinear", antialias=True)
    return square[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def _read_picture(path: Path) -> np.ndarray:
    """Grey levels uint8 (H, W). Raises Rejected("IMAGE_UNREADABLE")."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips them at 255
                return (np.array(image).clip(0, 65_535) / 257).round().astype(np.uint8)
            return np.array(image.convert("L"))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  Pillow raises of every kind, from struct.error to SyntaxError
        raise Rejected(UNREADABLE, UNREADABLE_SENTENCE) from None
