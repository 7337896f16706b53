"""RUN/split.csv: which image was in which part, so that anybody can check it years later.

    # fingerprint of the data: c9ce7d7e...
    file,label,patient_group,part
    train/NORMAL/IM-0115-0001.jpeg,NORMAL,17,train

Patients are numbers here, never keys. Read back, the file is held against the data: the same
images, the same patients, and no patient in two parts.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.files import complete_or_absent, os_errors_as
from training.data.radiograph import CLASSES, Radiograph, fingerprint
from training.data.splits import Split, group_patients
from training.data.text import counted
from worker.errors import Rejected

SPLIT_FILE = "split.csv"
COLUMNS = ("file", "label", "patient_group", "part")
PARTS = ("train", "validation", "block")
_LINE_END = "\r\n"  # RFC 4180; and Python quotes just those ends of lines that it writes itself
_ERRORS = "surrogateescape"  # the names on a disk may be no UTF-8
_FIRST_LINE = "# fingerprint of the data: "


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line of the file: an image."""

    number: int
    """Of the line."""
    file: str
    label: str
    patient_group: str
    part: str


def write_split(path: Path, radiographs: Sequence[Radiograph], split: Split) -> None:
    """Write which image is in which part; the file appears when it is complete.

    Raises Rejected("PATIENT_IN_TWO_PARTS"), Resource("SPLIT_NOT_WRITTEN").
    """
    groups = group_patients(radiographs)
    part_of = {int(row): name for name, rows in split.parts().items() for row in rows}
    require_no_leakage(groups, [part_of[row] for row in range(len(radiographs))])
    with (
        os_errors_as("SPLIT_NOT_WRITTEN", "The split", path.parent),
        complete_or_absent(path) as part,
        part.open("w", newline="", encoding="utf-8", errors=_ERRORS) as file,
    ):
        file.write(f"{_FIRST_LINE}{fingerprint(radiographs)}{_LINE_END}")
        writer = csv.writer(file, lineterminator=_LINE_END)
        writer.writerow(COLUMNS)
        for row, r in enumerate(radiographs):
            writer.writerow((r.path.as_posix(), CLASSES[r.label], groups[row], part_of[row]))


def read_split(path: Path, radiographs: Sequence[Radiograph]) -> Split:
    """Read the split, and prove that it is one of these images.

    Raises Rejected: SPLIT_FILE_MISSING, SPLIT_FILE_UNREADABLE, SPLIT_OF_OTHER_DATA,
    SPLIT_FILE_ALTERED, PATIENT_IN_TWO_PARTS.
    """
    written_for, lines = _read(path)
    _require_same_images(lines, radiographs)
    if written_for != fingerprint(radiographs):
        raise Rejected(
            "SPLIT_OF_OTHER_DATA",
            f"{path.name} was written for data with the fingerprint {written_for[:12]}, the data given "
            f"has {fingerprint(radiographs)[:12]}; files, labels or patients have changed since.",
        )
    groups = group_patients(radiographs)
    by_file = {line.file: line for line in lines}
    in_order = [by_file[r.path.as_posix()] for r in radiographs]
    _require_unaltered(in_order, radiographs, groups)
    parts = np.array([line.part for line in in_order])
    require_no_leakage(groups, list(parts))
    return Split(**{name: np.flatnonzero(parts == name) for name in PARTS})


def require_no_leakage(groups: np.ndarray, parts: Sequence[str]) -> None:
    """Raise Rejected("PATIENT_IN_TWO_PARTS") if a patient group is in more than one part."""
    found: dict[int, set[str]] = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        found[int(group)].add(part)
    leaking = {group: sorted(names) for group, names in sorted(found.items()) if len(names) > 1}
    if leaking:
        group, names = next(iter(leaking.items()))
        raise Rejected(
            "PATIENT_IN_TWO_PARTS",
            f"Patient group {group} is in {' and in '.join(names)} "
            f"({counted(len(leaking), 'such group')} in all); every figure would be too good. Split "
            "again by patient.",
        )


def _read(path: Path) -> tuple[str, list[_Line]]:
    """The fingerprint and the lines."""
    if not path.is_file():
        raise Rejected(
            "SPLIT_FILE_MISSING",
            f"The folder {path.parent.name} holds no {path.name}; give a folder that `pneumo train` "
            "wrote.",
        )
    try:
        with path.open(newline="", encoding="utf-8", errors=_ERRORS) as file:
            first, reader = file.readline().rstrip(), csv.reader(file, strict=True)
            heading = next(reader, [])
            lines = [
                _Line(**dict(zip(COLUMNS, cells, strict=True)), number=reader.line_num + 1)
                for cells in reader
            ]
    except (ValueError, csv.Error):  # too few cells in a line, or no text at all
        raise _unreadable(path) from None
    if not first.startswith(_FIRST_LINE) or tuple(heading) != COLUMNS:
        raise _unreadable(path)
    return first.removeprefix(_FIRST_LINE), lines


def _unreadable(path: Path) -> Rejected:
    return Rejected(
        "SPLIT_FILE_UNREADABLE",
        f"{path.name} is no split as `pneumo train` writes it; expected a line with a fingerprint "
        f"and then the columns {', '.join(COLUMNS)}. Take the file as it was written.",
    )


def _require_same_images(lines: Sequence[_Line], radiographs: Sequence[Radiograph]) -> None:
    """Every image has one line, every line an image."""
    files = {r.path.as_posix() for r in radiographs}
    seen: set[str] = set()
    for line in lines:
        if line.file not in files:
            raise Rejected(
                "SPLIT_OF_OTHER_DATA",
                f"Line {line.number} of the split names a file that the data does not hold; give "
                "the data that the run was trained on.",
            )
        if line.file in seen:
            raise _altered(line, "names a file for the second time")
        seen.add(line.file)
    missing = [r.shown_as for r in radiographs if r.path.as_posix() not in seen]
    if missing:
        raise Rejected(
            "SPLIT_OF_OTHER_DATA",
            f"The split lacks {counted(len(missing), 'image')} of the data, the first is "
            f"{missing[0]}; give the data that the run was trained on.",
        )


def _require_unaltered(
    lines: Sequence[_Line], radiographs: Sequence[Radiograph], groups: np.ndarray
) -> None:
    """Label and patient group are those of the data, and the part is one that exists."""
    for line, radiograph, group in zip(lines, radiographs, groups, strict=True):
        if line.part not in PARTS:
            raise _altered(line, f"names a part that is none of {', '.join(PARTS)}")
        if line.label != CLASSES[radiograph.label]:
            raise _altered(line, f"has a label other than the data's {CLASSES[radiograph.label]}")
        if line.patient_group != str(group):
            raise _altered(line, f"has a patient group other than the data's {group}")


def _altered(line: _Line, how: str) -> Rejected:
    return Rejected(
        "SPLIT_FILE_ALTERED",
        f"Line {line.number} of the split {how}; take the file as `pneumo train` wrote it.",
    )
