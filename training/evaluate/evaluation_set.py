"""The images that a bundle is measured on, and what it predicts of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.data.class_folders import DEVELOPMENT, TEST, has_class_folders
from training.data.data_set import DataSet, ImageSource, LabelledPlanes, read_data_set, read_images
from training.data.decoding import load_tensor
from training.data.files import complete_or_absent, os_errors_as
from training.data.pool import Layout, Pool
from training.data.radiograph import (
    CLASSES,
    ProgressCallback,
    Radiograph,
    fingerprint,
    ignore_progress,
)
from training.data.splits import HoldOut, group_patients
from training.evaluate.predictions import Predictions, logits_of
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.bundle import Bundle
from worker.model.manifest import BundleManifest

TEST_SPLIT = "test"
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """One part of a data set, n images."""

    split: str
    """validation, block or test."""
    hold_out: str
    """What a network must have held out in order not to have seen these images."""
    fingerprint: str
    """Of the whole pool that the part was taken from."""
    root: Path
    """The set's folder."""
    layout: Layout
    """Class folders, or DICOM."""
    radiographs: tuple[Radiograph, ...]
    """Of this part."""
    patients: np.ndarray
    """int64 (n,)."""
    planes: np.ndarray
    """uint8 (n, S, S)."""
    train: LabelledPlanes | None
    """The split's training part, for the confounder baseline; None where the data have none."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), 1 = PNEUMONIA."""
        return np.array([r.label for r in self.radiographs])


def hold_out_of(manifest: BundleManifest) -> str:
    """What the network's run held out; bundles of the first release do not state it: validation."""
    return str(manifest.training.get("hold_out", HoldOut.VALIDATION))


def is_in_sample(manifest: BundleManifest, images: EvaluationSet) -> bool:
    """Whether the network was trained on (some of) these very images."""
    return (
        manifest.dataset_fingerprint == images.fingerprint
        and hold_out_of(manifest) != images.hold_out
    )


def read_parts(
    source: ImageSource,
    spec: PreprocessingSpec,
    splits: Sequence[str],
    *,
    hold_out: str,
    cache: Path,
    on_progress: ProgressCallback = ignore_progress,
    skip_empty: bool = False,
) -> list[EvaluationSet]:
    """The named parts of a data set, split as training splits it. Raises Rejected, Resource.

    ["test"] is the folder test/ of class folders, or the whole of a DICOM set; validation and block
    are those of `make_split` with `hold_out`. SPLIT_WITHOUT_BOTH_CLASSES where a part lacks a
    class; with `skip_empty`, a part without any image is left out instead.
    """
    if TEST_SPLIT in splits:
        parts = [_read_test(source, spec, cache, on_progress)]
    else:
        data = read_data_set(source, spec, cache=cache, hold_out=hold_out, on_progress=on_progress)
        parts = _development_parts(data, splits, hold_out)
    if skip_empty:
        parts = [part for part in parts if part.radiographs]
    for part in parts:
        _require_both_classes(part)
    return parts


def predict(bundle: Bundle, images: EvaluationSet, cache: Path) -> Predictions:
    """Predict the images in fp32; the logits are kept in `cache` for a next time.

    A DICOM file is read by the functions that a worker calls, without the rounding of a plane.
    """
    key = hashlib.sha256(
        f"{bundle.manifest.digest} {fingerprint(images.radiographs)}".encode()
    ).hexdigest()
    path = cache / f"logits-{key[:16]}.npy"
    if path.exists():
        logits = np.load(path)
    else:
        logits = _logits(bundle, images)
        with (
            os_errors_as("REPORT_NOT_WRITTEN", "The predictions", cache),
            complete_or_absent(path, shared=True) as part,
            part.open("wb") as file,
        ):
            np.save(file, logits)
    return Predictions.of(images.radiographs, images.patients, logits)


def _logits(bundle: Bundle, images: EvaluationSet) -> np.ndarray:
    """float32 (n,)."""
    spec = bundle.manifest.preprocessing
    if images.layout is Layout.CLASS_FOLDERS:
        return logits_of(bundle.model, images.planes, spec)
    device = next(bundle.model.parameters()).device
    logits = []
    for start in range(0, len(images.radiographs), _AT_ONCE):
        some = images.radiographs[start : start + _AT_ONCE]
        inputs = torch.stack([load_tensor(images.root / r.path, spec) for r in some])
        with torch.inference_mode():
            logits.append(bundle.model(inputs.to(device)).float().cpu())
    return torch.cat(logits).numpy()


def _read_test(
    source: ImageSource, spec: PreprocessingSpec, cache: Path, on_progress: ProgressCallback
) -> EvaluationSet:
    pool, planes = read_images(source, spec, cache=cache, folders=TEST, on_progress=on_progress)
    train = None
    if pool.layout is Layout.CLASS_FOLDERS and has_class_folders(source.root, DEVELOPMENT):
        development = read_data_set(source, spec, cache=cache, on_progress=on_progress)
        train = development.part(development.split.train)
    everything = np.arange(len(pool.radiographs))
    return _part(pool, planes, everything, TEST_SPLIT, TEST_SPLIT, train)


def _development_parts(data: DataSet, splits: Sequence[str], hold_out: str) -> list[EvaluationSet]:
    train, parts = data.part(data.split.train), data.split.parts()
    return [_part(data.pool, data.planes, parts[name], name, hold_out, train) for name in splits]


def _part(
    pool: Pool,
    planes: np.ndarray,
    rows: np.ndarray,
    split: str,
    hold_out: str,
    train: LabelledPlanes | None,
) -> EvaluationSet:
    return EvaluationSet(
        split=split,
        hold_out=hold_out,
        fingerprint=fingerprint(pool.radiographs),
        root=pool.root,
        layout=pool.layout,
        radiographs=tuple(pool.radiographs[row] for row in rows),
        patients=group_patients(pool.radiographs)[rows],
        planes=np.asarray(planes[rows]),
        train=train,
    )


def _require_both_classes(part: EvaluationSet) -> None:
    for label, name in enumerate(CLASSES):
        if not (part.labels == label).any():
            raise Rejected(
                "SPLIT_WITHOUT_BOTH_CLASSES",
                f"The part {part.split} holds no image of class {name}, so nothing can be measured "
                "on it. The block exists only for files named as the set's authors named them, and "
                "for no run that held out one of five folds; choose another --split.",
            )
