"""A data set as a command reads it: from the folder that a person names to decoded, split images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.class_folders import DEVELOPMENT
from training.data.planes import load_pool
from training.data.pool import Pool
from training.data.radiograph import ProgressCallback, Radiograph, fingerprint, ignore_progress
from training.data.reading import read_pool
from training.data.split_file import read_split
from training.data.splits import HoldOut, Split, make_split
from worker.imaging.preprocessing import PreprocessingSpec

CACHE = "cache"
"""The folder of decoded images, beside the output of the commands that share it."""
SPLIT_SEED = 0
"""The held-out patients are the same for every seed of a training, or seeds would not compare."""


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Where images and labels come from, as the command line gives it."""

    root: Path
    """Class folders, or DICOM files."""
    labels: Path | None = None
    """CSV of a DICOM folder's labels."""
    groups: Path | None = None
    """CSV of patients, where file names do not tell them."""
    strict: bool = False
    """Whether a file that cannot be read ends the command."""


@dataclass(frozen=True, kw_only=True)
class LabelledPlanes:
    """Images of one part of the split, in memory."""

    planes: np.ndarray
    """uint8 (n, S, S)."""
    labels: np.ndarray
    """int64 (n,), 0 NORMAL, 1 PNEUMONIA."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The images, their labels and who is held out."""

    pool: Pool
    """Every readable image; row numbers of the split count in it."""
    planes: np.ndarray
    """uint8 (n, S, S), memory-mapped."""
    split: Split
    """train, validation and block, by patient."""

    @property
    def radiographs(self) -> tuple[Radiograph, ...]:
        """In a fixed order."""
        return self.pool.radiographs

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,)."""
        return np.array([r.label for r in self.radiographs])

    def part(self, rows: np.ndarray) -> LabelledPlanes:
        """The images of one part, in memory."""
        return LabelledPlanes(planes=np.asarray(self.planes[rows]), labels=self.labels[rows])

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        parts = self.split.parts()
        return {
            "fingerprint": fingerprint(self.radiographs),
            "split_digest": self.split.digest(),
            "images": {name: len(rows) for name, rows in parts.items()},
            "pneumonia": {name: int(self.labels[rows].sum()) for name, rows in parts.items()},
        }


def read_data_set(
    source: ImageSource,
    spec: PreprocessingSpec,
    *,
    cache: Path,
    hold_out: str = HoldOut.VALIDATION,
    split_file: Path | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> DataSet:
    """Read, decode and split the development images. Raises Rejected, Resource (see training.data).

    `split_file`: take the split from there and prove that it is one of these images.
    """
    pool, planes = read_images(source, spec, cache=cache, on_progress=on_progress)
    split = (
        read_split(split_file, pool.radiographs)
        if split_file is not None
        else make_split(pool.radiographs, SPLIT_SEED, hold_out)
    )
    return DataSet(pool=pool, planes=planes, split=split)


def read_images(
    source: ImageSource,
    spec: PreprocessingSpec,
    *,
    cache: Path,
    folders: Sequence[str] = DEVELOPMENT,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[Pool, np.ndarray]:
    """Read and decode the images of some folders: the pool, and planes uint8 (n, S, S)."""
    pool = read_pool(
        source.root,
        labels=source.labels,
        groups=source.groups,
        strict=source.strict,
        folders=folders,
        on_progress=on_progress,
    )
    return load_pool(pool, spec, cache, strict=source.strict, on_progress=on_progress)
