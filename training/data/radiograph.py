"""One image of a set: its file, its label and its patient."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

CLASSES = ("NORMAL", "PNEUMONIA")

ProgressCallback = Callable[[int, int], None]
"""Called with the number of files done, and of all files."""


def ignore_progress(_done: int, _total: int) -> None:
    """Show no progress."""


class Encoding(StrEnum):
    """How the pixels are written."""

    PICTURE = "picture"
    """JPEG or PNG."""
    DICOM = "dicom"
    """A DICOM instance, read by the worker's own code."""


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One file of the set."""

    path: Path
    """Relative to the set's root."""
    label: int
    """Index into CLASSES: 0 NORMAL, 1 PNEUMONIA."""
    patient_key: str = field(repr=False)
    """`subtype:person`, such as `virus:person1000` or `normal:IM-0115`."""
    sha256: str
    """Of the file's bytes; equal for byte-identical images."""
    encoding: Encoding = Encoding.PICTURE
    """How the pixels are written."""
    size: tuple[int, int] | None = None
    """(rows, columns) of the file, before any resize; None where they are unknown."""
    patient_is_known: bool = True
    """False where nothing names the patient, so that the image counts as a patient of its own."""
    label_line: str | None = None
    """The line of its label, by which messages name a DICOM file: its name may be a patient's."""

    @property
    def subtype(self) -> str:
        """`normal`, `bacteria`, `virus`, or `pneumonia` where the cause is unknown."""
        return self.patient_key.partition(":")[0]

    @property
    def person(self) -> str:
        """The patient without the subtype: one child may have both bacteria and virus."""
        return self.patient_key.partition(":")[2]

    @property
    def shown_as(self) -> str:
        """Its name in messages."""
        return self.label_line or self.path.as_posix()


def fingerprint(radiographs: Sequence[Radiograph]) -> str:
    """SHA-256 over path, patient and bytes of every image, in order.

    The label is in it too: a picture's as its folder, a DICOM file's as the patient's subtype.
    """
    lines = (f"{r.path.as_posix()} {r.patient_key} {r.sha256}\n" for r in radiographs)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
