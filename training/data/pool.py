"""A data set as it was found: its images, and what a person should know before learning from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from training.data.class_folders import (
    BARE,
    DEVELOPMENT,
    TEST,
    has_class_folders,
    read_class_folders,
)
from training.data.dicom_folder import has_dicom, read_dicom_folder
from training.data.duplicates import find_duplicates
from training.data.files_by_name import files_under
from training.data.found import Found, Skipped
from training.data.groups import regroup
from training.data.labels import find_labels
from training.data.radiograph import Radiograph, Tell, silent
from training.data.words import at_start
from worker.errors import Rejected


class Layout(StrEnum):
    """How a set says what its images show."""

    CLASS_FOLDERS = "class folders"
    """Kaggle: train/NORMAL, train/PNEUMONIA and so on."""
    LABELLED_DICOM = "DICOM files with a CSV of labels"
    """RSNA."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The images to learn from or to measure on."""

    root: Path
    """The set's folder; the paths of the images count from it."""
    layout: Layout
    """How it was understood."""
    radiographs: tuple[Radiograph, ...]
    """In a fixed order; row numbers everywhere count in it."""
    skipped: tuple[Skipped, ...] = ()
    """Files that had to be left out."""
    labels_without_file: tuple[str, ...] = ()
    """The lines of labels that no file belongs to."""
    files_without_label: int = 0
    """DICOM files that no line of labels names."""

    def without(self, rows: Collection[int], skipped: Sequence[Skipped]) -> Pool:
        """The same pool less some rows, with the reasons."""
        kept = tuple(r for row, r in enumerate(self.radiographs) if row not in rows)
        return replace(self, radiographs=kept, skipped=(*self.skipped, *skipped))


def read_pool(
    root: Path,
    *,
    labels: Path | None = None,
    groups: Path | None = None,
    strict: bool = False,
    folders: Sequence[str] = DEVELOPMENT,
    tell: Tell = silent,
) -> Pool:
    """Find out which layout `root` has and read it; pixels are not decoded yet (`load_pool`).

    `labels`: the CSV of a DICOM folder; without it, the one in `root`. `groups`: a CSV with file
    and patient. `strict`: whatever would be left out is an error. `folders`: DEVELOPMENT, TEST or
    BARE of training.data; a DICOM folder is one whole and knows no such parts. Raises Rejected.
    """
    if not root.is_dir():
        raise Rejected(
            "TRAINING_DATA_MISSING",
            f"There is no folder {root.name}; expected class folders (train/NORMAL, "
            "train/PNEUMONIA) or DICOM files with a CSV of labels.",
        )
    labels = labels or _labels_in(root, folders)
    layout = Layout.LABELLED_DICOM if labels else Layout.CLASS_FOLDERS
    found = (
        read_dicom_folder(root, labels, tell) if labels else read_class_folders(root, folders, tell)
    )
    if strict:
        _require_nothing_left_out(found)
    radiographs = found.radiographs
    if groups:
        radiographs = regroup(radiographs, groups, files_under(root))
    return Pool(
        root=root,
        layout=layout,
        radiographs=radiographs,
        skipped=found.skipped,
        labels_without_file=found.labels_without_file,
        files_without_label=found.files_without_label,
    )


def _labels_in(root: Path, folders: Sequence[str]) -> Path | None:
    """The CSV that says what the folder's images show; None where class folders say it."""
    if has_class_folders(root, (*folders, *DEVELOPMENT, *TEST)):
        return None
    if csv := find_labels(root):
        return csv
    if has_dicom(root):
        raise Rejected(
            "LABELS_MISSING",
            f"The folder {root.name} holds DICOM files but no CSV that says what they show; put "
            "one there with the columns patientId and Target, or name it with --labels.",
        )
    raise Rejected(
        "DATA_LAYOUT_UNKNOWN",
        f"The folder {root.name} is laid out in no way that is known; expected class folders "
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


def _require_nothing_left_out(found: Found) -> None:
    """What a remark tells otherwise is an error here."""
    for skipped in found.skipped:
        raise skipped.as_error()
    for place in found.labels_without_file:
        raise Rejected(
            "LABEL_WITHOUT_FILE",
            f"{at_start(place)} names a file that is not in the folder, as "
            f"{len(found.labels_without_file)} lines do; delete them or add the files.",
        )
    for rows in find_duplicates(found.radiographs).contradictory:
        first, *others = (found.radiographs[row] for row in rows)
        other = next(r for r in others if r.label != first.label)
        raise Rejected(
            "DUPLICATES_CONTRADICT",
            f"{first.shown_as} and {other.shown_as} are the same image with different labels; "
            "decide which one is right and delete the other.",
        )
