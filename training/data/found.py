"""What reading a folder gives: the images, and whatever had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.data.radiograph import CLASSES, Radiograph
from training.data.words import were
from worker.errors import Rejected


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that was left out."""

    shown_as: str
    """The file's name within the set, or the line of its label."""
    code: str
    """Stable, UPPER_SNAKE: IMAGE_UNREADABLE, or the worker's code of refusal."""
    sentence: str
    """Why; holds nothing of the file's content."""

    def as_error(self) -> Rejected:
        """The same as an error, for whoever wants no file left out."""
        return Rejected(self.code, f"{self.shown_as}: {self.sentence}")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The outcome of reading one folder."""

    radiographs: tuple[Radiograph, ...]
    """In a fixed order."""
    skipped: tuple[Skipped, ...] = ()
    """Files that cannot be used."""
    labels_without_file: tuple[str, ...] = ()
    """The lines of labels that no file belongs to."""
    files_without_label: int = 0
    """DICOM files that no line of labels names."""


def require_both_classes(
    radiographs: Sequence[Radiograph], skipped: Sequence[Skipped], *, expected: Callable[[int], str]
) -> None:
    """Raise Rejected("TRAINING_DATA_EMPTY") if a class has no usable image.

    `expected`: the words for what was looked for, given the label.
    """
    for label, name in enumerate(CLASSES):
        if any(r.label == label for r in radiographs):
            continue
        reason = (
            f" {were(len(skipped), 'file')} left out; {skipped[0].shown_as}: {skipped[0].sentence}"
            if skipped
            else ""
        )
        raise Rejected(
            "TRAINING_DATA_EMPTY",
            f"The folder holds no image of class {name}; expected {expected(label)} in it.{reason}",
        )
