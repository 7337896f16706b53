"""One image of a set: where it lies, what it shows, whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

CLASSES = ("NORMAL", "PNEUMONIA")

Tell = Callable[[int, int], None]
"""Called with how many files are done, and of how many."""


def silent(_done: int, _total: int) -> None:
    """The teller that tells nothing."""


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
    """Its place in CLASSES: 0 NORMAL, 1 PNEUMONIA."""
    patient_key: str = field(repr=False)
    """`subtype:person`, such as `virus:person1000` or `normal:IM-0115`."""
    sha256: str
    """Of the file's bytes; equal for byte-identical images."""
    encoding: Encoding = Encoding.PICTURE
    """How the pixels are written."""
    size: tuple[int, int] | None = None
    """(rows, columns) of the file, before any resize; None: nobody looked."""
    patient_is_known: bool = True
    """False where nothing tells the patient, so that the image stands for a patient of its own."""
    place: str | None = None
    """How messages name it: a DICOM file by its label's line, as its own name may be a patient's."""

    @property
    def file(self) -> str:
        """The file's name, without folders."""
        return self.path.name

    @property
    def subtype(self) -> str:
        """`normal`, `bacteria`, `virus`, or `pneumonia` where nothing tells its cause."""
        return self.patient_key.partition(":")[0]

    @property
    def person(self) -> str:
        """The patient without the subtype: one child may have both bacteria and virus."""
        return self.patient_key.partition(":")[2]

    @property
    def shown_as(self) -> str:
        """Its name in messages."""
        return self.place or self.path.as_posix()


def fingerprint(radiographs: Sequence[Radiograph]) -> str:
    """SHA-256 over path, patient and bytes of every image, in order.

    The label is in it too: a picture's as its folder, a DICOM file's as the patient's subtype.
    """
    lines = (f"{r.path.as_posix()} {r.patient_key} {r.sha256}\n" for r in radiographs)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
