"""Radiographs for a report: data URIs, so that the page is one file."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

QUALITY = 88


def radiograph_uri(plane: np.ndarray) -> str:
    """Plane uint8 (S, S) -> data:image/jpeg."""
    return _uri(Image.fromarray(plane))


def overlay_uri(plane: np.ndarray, saliency: np.ndarray) -> str:
    """The same with Grad-CAM float32 (S, S) in [0, 1] over it, as heat that lets bones through."""
    heat = colormaps["inferno"](saliency)[..., :3] * 255  # (S, S, 3)
    weight = (0.65 * saliency)[..., None]
    mixed = plane[..., None] * (1 - weight) + heat * weight
    return _uri(Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8)))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
