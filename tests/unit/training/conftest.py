"""A tiny data set in the Kaggle layout, drawn in code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw_set(root: Path, *, normals: int = 40, sick: int = 60, side: int = 64) -> Path:
    """Files named as the set's authors named theirs; pneumonias are brighter in the middle."""
    names = [("NORMAL", f"IM-{100 + n * 20:04d}-0001.jpeg") for n in range(normals)] + [
        ("PNEUMONIA", f"person{n * 20 + 1}_{('bacteria', 'virus')[n % 2]}_{n}.jpeg")
        for n in range(sick)
    ]
    rng = np.random.default_rng(0)
    for label, name in names:
        grey = rng.normal(90, 15, (side, side))
        if label == "PNEUMONIA":
            grey[side // 4 : -side // 4, side // 4 : -side // 4] += 60
        path = root / "train" / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(path, quality=95)
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The tiny set; not to be changed."""
    return draw_set(tmp_path_factory.mktemp("tiny"))
