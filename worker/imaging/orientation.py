"""Patient Orientation (PS3.3 C.7.6.1.1.1): how a frontal picture has to be turned and mirrored.

Networks and readers see a chest as if they faced the patient: rows run to the patient's left, columns
to the feet ("L\\F"). A picture stored in another of the eight ways is brought to this one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import code_string, is_filled, is_unreadable
from worker.imaging.refusals import Step
from worker.imaging.unreadable import element_unreadable

EXPECTED = "directions of rows and columns, each of A, P, L, R, H, F"
_DIRECTIONS = re.compile(r"[APLRHF]{1,3}\\[APLRHF]{1,3}")
_AXES = {"L": "LR", "R": "LR", "H": "HF", "F": "HF", "A": "AP", "P": "AP"}
_OPPOSITE = str.maketrans("LRHFAP", "RLFHPA")


@dataclass(frozen=True, kw_only=True)
class Reorientation:
    """The steps that bring a picture to rows that run left and columns that run to the feet."""

    transposed: bool = False
    """First: rows become columns."""
    mirrored: bool = False
    """Then: left and right of the picture change places."""
    upended: bool = False
    """Then: top and bottom change places."""

    def __bool__(self) -> bool:
        return self.transposed or self.mirrored or self.upended

    def __str__(self) -> str:
        """The steps as they are recorded, e.g. "transposed, mirrored"."""
        return ", ".join(name for name, is_done in vars(self).items() if is_done)

    def of_picture(self, pixels: np.ndarray) -> np.ndarray:
        """The picture (H, W) after the steps; the same array if there are none."""
        if not self:
            return pixels
        turned = pixels.T if self.transposed else pixels
        turned = turned[:, ::-1] if self.mirrored else turned
        turned = turned[::-1] if self.upended else turned
        return np.ascontiguousarray(turned)

    def of_directions(self, orientation: str) -> str:
        """The Patient Orientation that the picture has after the steps."""
        rows, columns = orientation.split("\\")
        if self.transposed:
            rows, columns = columns, rows
        rows = rows.translate(_OPPOSITE) if self.mirrored else rows
        columns = columns.translate(_OPPOSITE) if self.upended else columns
        return f"{rows}\\{columns}"


def patient_orientation(dataset: Dataset) -> str | None:
    """(0020,0020) as "L\\F"; None if it is absent or `is_orientation_unreadable`."""
    value = _value(dataset)
    return value if value and _DIRECTIONS.fullmatch(value) else None


def is_orientation_unreadable(dataset: Dataset) -> bool:
    """Whether the element says something that is no pair of directions."""
    if is_unreadable(dataset, "PatientOrientation"):
        return True
    return bool(_value(dataset)) and patient_orientation(dataset) is None


def is_frontal(orientation: str) -> bool:
    """Whether one direction runs between left and right and the other between head and feet."""
    axes = [[_AXES[letter] for letter in direction] for direction in orientation.split("\\")]
    rows, columns = axes
    return (
        "AP" not in {*rows, *columns}
        and rows[0] != columns[0]
        and all(len(set(direction)) == len(direction) for direction in axes)
    )


def reorientation_of(orientation: str | None) -> Reorientation:
    """The steps for a frontal picture; none where the orientation is unknown or not frontal.

    The first letter of a direction is the nearest axis, further letters say that the patient lay
    askew: no less so after the steps.
    """
    if orientation is None or not is_frontal(orientation):
        return Reorientation()
    rows, columns = (direction[0] for direction in orientation.split("\\"))
    transposed = rows in "HF"
    if transposed:
        rows, columns = columns, rows
    return Reorientation(transposed=transposed, mirrored=rows == "R", upended=columns == "H")


def reorientation_of_dataset(dataset: Dataset) -> Reorientation:
    """The steps for a dataset's pixels. Raises RefusedInstance ELEMENT_UNREADABLE."""
    if is_orientation_unreadable(dataset):
        raise element_unreadable("PatientOrientation", expected=EXPECTED, step=Step.NORMALISE)
    return reorientation_of(patient_orientation(dataset))


def _value(dataset: Dataset) -> str | None:
    value = (
        code_string(dataset, "PatientOrientation")
        if is_filled(dataset, "PatientOrientation")
        else None
    )
    stripped = "\\".join(part.strip() for part in (value or "").split("\\"))
    return stripped if stripped.strip("\\") else None  # two empty values are none
