"""Find out which layout a folder has, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.data.class_folders import (
    BARE,
    DEVELOPMENT,
    TEST,
    has_class_folders,
    read_class_folders,
)
from training.data.dicom_folder import has_dicom, read_dicom_folder
from training.data.duplicates import contradictory_groups
from training.data.files_by_name import files_under
from training.data.labels import find_labels
from training.data.patient_table import assign_patients
from training.data.pool import Pool
from training.data.radiograph import ProgressCallback, ignore_progress
from training.data.text import capitalised
from worker.errors import Rejected


def read_pool(
    root: Path,
    *,
    labels: Path | None = None,
    groups: Path | None = None,
    strict: bool = False,
    folders: Sequence[str] = DEVELOPMENT,
    on_progress: ProgressCallback = ignore_progress,
) -> Pool:
    """Find out which layout `root` has and read it; pixels are not decoded yet (`load_pool`).

    `labels`: the CSV of a DICOM folder; without it, the one in `root`. `groups`: a CSV with file
    and patient. `strict`: whatever would be left out is an error. `folders`: DEVELOPMENT, TEST or
    BARE of training.data.class_folders; a DICOM folder is one whole and knows no such parts. Raises Rejected.
    """
    if not root.is_dir():
        raise Rejected(
            "TRAINING_DATA_MISSING",
            f"There is no folder {root.name}; expected class folders (train/NORMAL, "
            "train/PNEUMONIA) or DICOM files with a CSV of labels.",
        )
    labels = labels or _labels_in(root, folders)
    pool = (
        read_dicom_folder(root, labels, on_progress)
        if labels
        else read_class_folders(root, folders, on_progress)
    )
    if strict:
        _require_nothing_left_out(pool)
    if groups:
        patients = assign_patients(pool.radiographs, groups, files_under(root))
        pool = replace(pool, radiographs=patients)
    return pool


def _labels_in(root: Path, folders: Sequence[str]) -> Path | None:
    """The CSV of the images' labels; None where class folders are the labels."""
    if has_class_folders(root, (*folders, *DEVELOPMENT, *TEST)):
        return None
    if csv := find_labels(root):
        return csv
    if has_dicom(root):
        raise Rejected(
            "LABELS_MISSING",
            f"The folder {root.name} holds DICOM files but no CSV of their labels; put "
            "one there with the columns patientId and Target, or name it with --labels.",
        )
    raise Rejected(
        "DATA_LAYOUT_UNKNOWN",
        f"The folder {root.name} has no known layout; expected class folders "
        f"(train/NORMAL, train/PNEUMONIA) or DICOM files with a CSV of labels.{_hint(root)}",
    )


def _hint(root: Path) -> str:
    """What the person may have meant: the Kaggle archive unpacks into a folder of its own."""
    if has_class_folders(root, BARE):
        return " NORMAL and PNEUMONIA stand in it directly: move both into a folder train."
    for inner in sorted(path for path in root.iterdir() if path.is_dir()):
        if has_class_folders(inner, DEVELOPMENT):
            return f" Its folder {inner.name} has class folders: give that one."
    return ""


def _require_nothing_left_out(pool: Pool) -> None:
    """Raise Rejected for what is a mere warning of training.data.quality otherwise."""
    for skipped in pool.skipped:
        raise skipped.as_error()
    for line in pool.labels_without_file:
        raise Rejected(
            "LABEL_WITHOUT_FILE",
            f"{capitalised(line)} names a file that is not in the folder, as "
            f"{len(pool.labels_without_file)} lines do; delete them or add the files.",
        )
    for rows in contradictory_groups(pool.radiographs):
        first, *others = (pool.radiographs[row] for row in rows)
        other = next(r for r in others if r.label != first.label)
        raise Rejected(
            "DUPLICATES_CONTRADICT",
            f"{first.shown_as} and {other.shown_as} are the same image with different labels; "
            "decide which one is right and delete the other.",
        )
