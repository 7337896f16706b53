"""Small data sets: class folders as the set's authors fill them, and DICOM with a CSV of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.builders.dicom import write_instance
from training.data.class_folders import DEVELOPMENT
from training.data.radiograph import Radiograph
from training.data.reading import read_pool

NORMAL, PNEUMONIA = "train/NORMAL/IM-0001-0001.jpeg", "train/PNEUMONIA/person1_virus_1.jpeg"


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


def radiographs_of(root: Path, folders: Sequence[str] = DEVELOPMENT) -> tuple[Radiograph, ...]:
    """Every image of a set, of which none may be left out."""
    return read_pool(root, strict=True, folders=folders).radiographs


def draw_picture(path: Path, *, seed: int = 0, size: tuple[int, int] = (40, 48)) -> Path:
    """One grey picture of noise; its ending says whether JPEG or PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(grey).save(path)
    return path


def draw_class_folders(root: Path, *names: str) -> Path:
    """Pictures of the given paths, each with pixels of its own; by default one of each class."""
    for seed, name in enumerate(names or (NORMAL, PNEUMONIA)):
        draw_picture(root / name, seed=seed)
    return root


def write_table(path: Path, heading: str, *lines: str) -> Path:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((heading, *lines, "")))
    return path


def write_dicom_set(
    root: Path,
    labels: Sequence[int] = (0, 1),
    *,
    changes: Mapping[int, Mapping[str, Any]] | None = None,
) -> Path:
    """`name0.dcm`, `name1.dcm`, ... of one patient each, and labels.csv, one row per image.

    `changes`: number of an image -> keywords for its `make_instance`.
    """
    for number, _ in enumerate(labels):
        keywords = {"patient_id": f"PLANTED-ID-{number}", "patient_name": f"PLANTED^NAME{number}"}
        keywords |= (changes or {}).get(number, {})
        write_instance(root / f"name{number}.dcm", seed=number, **keywords)
    rows = [f"name{number},{label}" for number, label in enumerate(labels)]
    write_table(root / "labels.csv", "patientId,Target", *rows)
    return root
