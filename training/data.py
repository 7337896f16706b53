"""The radiographs to learn from: a folder in the Kaggle layout, read once into memory-mapped planes.

    DIR/train|val / NORMAL|PNEUMONIA / *.jpeg    and, optionally, DIR/index.csv with patient keys

Where index.csv is absent the patient keys are read from the file names, as the set's authors made
them (`IM-0115-0001`, `NORMAL2-IM-0838-0001`, `person1000_virus_1681`). Both folders make one pool:
the 16 images of `val` are too few to measure anything with.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec

FOLDERS = ("train", "val")
CLASSES = ("NORMAL", "PNEUMONIA")
SUFFIXES = {".jpeg", ".jpg", ".png"}
NORMAL_NAME = re.compile(r"^((?:NORMAL2-)?IM-\d+)")
PNEUMONIA_NAME = re.compile(r"^(person\d+)_(bacteria|virus)")


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One file of the set."""

    folder: str
    """`train` or `val`."""
    label: int
    """Its place in CLASSES: 0 NORMAL, 1 PNEUMONIA."""
    file: str
    """The file's name, without folders."""
    patient_key: str
    """`subtype:person`, such as `virus:person1000` or `normal:IM-0115`."""
    sha256: str
    """Of the file's bytes; equal for byte-identical images."""

    @property
    def path(self) -> Path:
        """The file, relative to the set's root."""
        return Path(self.folder, CLASSES[self.label], self.file)

    @property
    def subtype(self) -> str:
        """`normal`, `bacteria` or `virus`."""
        return self.patient_key.split(":")[0]


def read_radiographs(root: Path) -> tuple[Radiograph, ...]:
    """Every image under `root`, in a fixed order. Raises Rejected where a class has none."""
    keys = _read_patient_keys(root)
    found = tuple(
        _radiograph(folder, label, path, keys)
        for folder in FOLDERS
        for label, name in enumerate(CLASSES)
        for path in sorted((root / folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES
    )
    _require_both_classes(found)
    return found


def fingerprint(radiographs: Sequence[Radiograph]) -> str:
    """SHA-256 over folder, class, name, patient and bytes of every image, in order."""
    lines = (f"{r.path.as_posix()} {r.patient_key} {r.sha256}\n" for r in radiographs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_planes(
    root: Path, radiographs: Sequence[Radiograph], spec: PreprocessingSpec, cache: Path
) -> np.ndarray:
    """Grey planes uint8 (n, S, S) in the order of `radiographs`, decoded once into `cache`.

    The resize is that of `preprocess`; files that have side S already come through unchanged, so
    that `planes / 255` standardised is bit for bit what serving makes of them.
    """
    key = hashlib.sha256(f"{fingerprint(radiographs)} {spec.to_json()}".encode()).hexdigest()
    path = cache / f"planes-{key[:16]}.npy"
    if not path.exists():
        _decode_all(root, radiographs, spec.size, path)
    return np.load(path, mmap_mode="r")


def patient_key_from_name(name: str, label: int) -> str:
    """The patient key that a file name of the original set tells.

    An unknown naming gives a key of its own for each file: no grouping, but nothing wrong either.
    """
    if label == 0 and (match := NORMAL_NAME.match(name)):
        return f"normal:{match[1]}"
    if label == 1 and (match := PNEUMONIA_NAME.match(name)):
        return f"{match[2]}:{match[1]}"
    return f"{CLASSES[label].lower()}:{Path(name).stem}"


def _read_patient_keys(root: Path) -> dict[tuple[str, str], str]:
    """(folder, file) -> patient key, from index.csv; empty where there is none."""
    path = root / "index.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as lines:
        return {(row["folder"], row["file"]): row["patient_key"] for row in csv.DictReader(lines)}


def _radiograph(
    folder: str, label: int, path: Path, keys: dict[tuple[str, str], str]
) -> Radiograph:
    key = keys.get((folder, path.name)) or patient_key_from_name(path.name, label)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Radiograph(folder=folder, label=label, file=path.name, patient_key=key, sha256=digest)


def _require_both_classes(found: Sequence[Radiograph]) -> None:
    for label, name in enumerate(CLASSES):
        if not any(r.label == label for r in found):
            raise Rejected(
                "TRAINING_DATA_EMPTY",
                f"The folder holds no image of class {name}; expected train/{name}/*.jpeg in it.",
            )


def _decode_all(root: Path, radiographs: Sequence[Radiograph], size: int, path: Path) -> None:
    """Decode every file into `path`, which appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    shape = (len(radiographs), size, size)
    planes = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    for row, radiograph in enumerate(radiographs):
        planes[row] = _decode(root / radiograph.path, size)
    planes.flush()
    part.replace(path)


def _decode(path: Path, size: int) -> np.ndarray:
    """One file as uint8 (S, S), squashed with antialias as `preprocess` does."""
    with Image.open(path) as image:
        grey = np.array(image.convert("L"))
    if grey.shape == (size, size):
        return grey
    plane = torch.from_numpy(grey)[None, None].float()  # (1, 1, H, W) in [0, 255]
    square = interpolate(plane, size=(size, size), mode="bilinear", antialias=True)
    return square[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()
