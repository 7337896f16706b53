"""The images that a bundle is measured on, and what it says of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.data import (
    CLASSES,
    DEVELOPMENT,
    TEST,
    Layout,
    Pool,
    Radiograph,
    Tell,
    fingerprint,
    load_pool,
    load_tensor,
    read_pool,
)
from training.data.class_folders import has_class_folders
from training.data.radiograph import silent
from training.held_out import logits_of
from training.predictions import Predictions
from training.run import SPLIT_SEED, Source
from training.splits import HoldOut, group_patients, make_split
from training.writing import told_as_resource
from worker.errors import Rejected
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.bundle import Bundle
from worker.model.manifest import BundleManifest

TEST_SPLIT = "test"
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """Images of the same set that may be learnt from: the split's train rows."""

    planes: np.ndarray
    """uint8 (m, S, S)."""
    labels: np.ndarray
    """int64 (m,)."""


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
    learnt: Learnt | None
    """For the nuisance baseline; None where the data hold nothing to learn from."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), 1 = PNEUMONIA."""
        return np.array([r.label for r in self.radiographs])


def hold_out_of(manifest: BundleManifest) -> str:
    """What the network's run held out; bundles of the first release do not say: validation."""
    return str(manifest.training.get("hold_out", HoldOut.VALIDATION))


def is_in_sample(manifest: BundleManifest, images: EvaluationSet) -> bool:
    """Whether the network learnt from (some of) these very images."""
    return (
        manifest.dataset_fingerprint == images.fingerprint
        and hold_out_of(manifest) != images.hold_out
    )


def read_parts(
    source: Source,
    spec: PreprocessingSpec,
    splits: Sequence[str],
    *,
    hold_out: str,
    cache: Path,
    tell: Tell = silent,
    absent_is_left_out: bool = False,
) -> list[EvaluationSet]:
    """The named parts of a data set, split as training splits it. Raises Rejected, Resource.

    ["test"] is the folder test/ of class folders, or the whole of a DICOM set; validation and block
    are those of `make_split` with `hold_out`. SPLIT_WITHOUT_BOTH_CLASSES where a part lacks a
    class; with `absent_is_left_out` not where it has no image at all.
    """
    if TEST_SPLIT in splits:
        parts = [_read_test(source, spec, cache, tell)]
    else:
        pool, planes = _decoded(source, spec, DEVELOPMENT, cache, tell)
        parts = _development_parts(pool, planes, splits, hold_out)
    if absent_is_left_out:
        parts = [part for part in parts if part.radiographs]
    for part in parts:
        _require_both_classes(part)
    return parts


def predict(bundle: Bundle, images: EvaluationSet, cache: Path) -> Predictions:
    """What the bundle says of the images, in fp32; the logits are kept in `cache` for a next time.

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
        _keep(path, logits)
    return Predictions(
        names=tuple(r.path.as_posix() for r in images.radiographs),
        patients=images.patients,
        subtypes=tuple(r.subtype for r in images.radiographs),
        labels=images.labels,
        logits=logits.astype(np.float64),
    )


def _keep(path: Path, logits: np.ndarray) -> None:
    """Under its name only when it is whole: a file cut short would spoil every later report."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with told_as_resource(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.save(file, logits)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


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


def _read_test(source: Source, spec: PreprocessingSpec, cache: Path, tell: Tell) -> EvaluationSet:
    pool, planes = _decoded(source, spec, TEST, cache, tell)
    learnt = None
    if pool.layout is Layout.CLASS_FOLDERS and has_class_folders(source.root, DEVELOPMENT):
        development, all_planes = _decoded(source, spec, DEVELOPMENT, cache, tell)
        split = make_split(development.radiographs, SPLIT_SEED)
        learnt = _learnt(development, all_planes, split.train)
    everything = np.arange(len(pool.radiographs))
    return _part(pool, planes, everything, TEST_SPLIT, TEST_SPLIT, learnt)


def _development_parts(
    pool: Pool, planes: np.ndarray, splits: Sequence[str], hold_out: str
) -> list[EvaluationSet]:
    split = make_split(pool.radiographs, SPLIT_SEED, hold_out)
    learnt = _learnt(pool, planes, split.train)
    return [_part(pool, planes, split.parts()[name], name, hold_out, learnt) for name in splits]


def _part(
    pool: Pool,
    planes: np.ndarray,
    rows: np.ndarray,
    split: str,
    hold_out: str,
    learnt: Learnt | None,
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
        learnt=learnt,
    )


def _learnt(pool: Pool, planes: np.ndarray, rows: np.ndarray) -> Learnt:
    labels = np.array([r.label for r in pool.radiographs])
    return Learnt(planes=np.asarray(planes[rows]), labels=labels[rows])


def _decoded(
    source: Source, spec: PreprocessingSpec, folders: Sequence[str], cache: Path, tell: Tell
) -> tuple[Pool, np.ndarray]:
    pool = read_pool(
        source.root,
        labels=source.labels,
        groups=source.groups,
        strict=source.strict,
        folders=folders,
        tell=tell,
    )
    return load_pool(pool, spec, cache, strict=source.strict, tell=tell)


def _require_both_classes(part: EvaluationSet) -> None:
    for label, name in enumerate(CLASSES):
        if not (part.labels == label).any():
            raise Rejected(
                "SPLIT_WITHOUT_BOTH_CLASSES",
                f"The part {part.split} holds no image of class {name}, so nothing can be measured "
                "on it. The block exists only for files named as the set's authors named them, and "
                "for no run that held out one of five folds; choose another --split.",
            )
