"""From a normalised frame to the network's input: the one recipe that training and serving share.

The recipe is a value, `PreprocessingSpec`. It travels inside every model bundle and its version
stands beside every prediction, so a number can always be traced to the pixels that gave it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from worker.errors import Rejected

PREPROCESSING_VERSION = "1"
"""Raised whenever a DICOM file as models were trained on would give another tensor than before. What is
read in addition, of an element that no training set has, does not raise it: the record shows it."""


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec:
    """How a frame becomes a tensor. Frozen; `to_json` and `from_json` are inverse to each other."""

    version: str = PREPROCESSING_VERSION
    """Which code may apply this recipe; a worker refuses a bundle of any other version."""
    size: int = 224
    """S, the side of the square input in pixels. The frame is squashed to it: the training set is."""
    resize: str = "bilinear-antialias"
    """torch's bilinear filter, widened to the scale, so that no detail folds back as noise."""
    stretch_percentiles: tuple[float, float] = (0.5, 99.5)
    """Where a frame without VOI LUT and window is clipped before it is stretched to [0, 1]."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted per channel (ImageNet's, as the pretrained weights expect)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divided by per channel (ImageNet's)."""

    def to_json(self) -> str:
        """Return the recipe as one line of canonical JSON (sorted keys)."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PreprocessingSpec:
        """Read the recipe back from JSON; an unknown or missing key is refused by name."""
        values = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != known:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise Rejected(
                "PREPROCESSING_SPEC_UNREADABLE",
                f"A preprocessing recipe has the keys {sorted(known)}; found {found}. "
                "Take the bundle as the training module wrote it.",
            )
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**fields)


def preprocess(frame: np.ndarray | torch.Tensor, spec: PreprocessingSpec) -> torch.Tensor:
    """Make the network's input from one normalised frame.

    `frame`: float32 (H, W) in [0, 1], bright where the body absorbs (MONOCHROME2 sense).
    Returns float32 (3, S, S): resized with antialias, repeated to three channels, standardised.
    The VOI has been applied before, at full resolution: after a downscale it is wrong as soon as
    a window clips.
    """
    plane = torch.as_tensor(frame, dtype=torch.float32)[None, None]  # (1, 1, H, W)
    square = interpolate(
        plane, size=(spec.size, spec.size), mode="bilinear", antialias=True, align_corners=False
    )  # (1, 1, S, S)
    return standardise(square, spec)[0]


def standardise(batch: torch.Tensor, spec: PreprocessingSpec) -> torch.Tensor:
    """Grey planes (N, 1, S, S) in [0, 1] -> (N, 3, S, S), less the mean, over the deviation."""
    mean = torch.tensor(spec.mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=batch.device).view(1, 3, 1, 1)
    return (batch.clamp(0.0, 1.0).expand(-1, 3, -1, -1) - mean) / std
