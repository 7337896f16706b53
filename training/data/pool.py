"""The images of a folder, and whatever had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from training.data.radiograph import CLASSES, Radiograph
from training.data.text import were
from worker.errors import Rejected


class Layout(StrEnum):
    """How a set states what its images show."""

    CLASS_FOLDERS = "class folders"
    """Kaggle: train/NORMAL, train/PNEUMONIA and so on."""
    LABELLED_DICOM = "DICOM files with a CSV of labels"
    """RSNA."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that was left out."""

    shown_as: str
    """The file's name within the set, or the line of its label."""
    code: str
    """Stable, UPPER_SNAKE: IMAGE_UNREADABLE, or the worker's code of refusal."""
    sentence: str
    """Why; holds nothing of the file's content."""

    @classmethod
    def because(cls, error: Rejected, shown_as: str) -> Skipped:
        """The file that an error is about."""
        return cls(shown_as=shown_as, code=error.code, sentence=error.sentence)

    def as_error(self) -> Rejected:
        """The same as an error, for whoever wants no file left out."""
        return Rejected(self.code, f"{self.shown_as}: {self.sentence}")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The images to learn from or to measure on."""

    root: Path
    """The set's folder; the paths of the images are relative to it."""
    layout: Layout
    """How the folder was understood."""
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

    def require_both_classes(self, expected: Callable[[int], str]) -> None:
        """Raise Rejected("TRAINING_DATA_EMPTY") if a class has no usable image.

        `expected`: what the folder should hold, in words, given the label.
        """
        reason = "".join(
            f" {were(len(self.skipped), 'file')} left out; {first.shown_as}: {first.sentence}"
            for first in self.skipped[:1]
        )
        for label, name in enumerate(CLASSES):
            if not any(r.label == label for r in self.radiographs):
                raise Rejected(
                    "TRAINING_DATA_EMPTY",
                    f"The folder holds no image of class {name}; expected {expected(label)} in "
                    f"it.{reason}",
                )
