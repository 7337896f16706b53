"""A CSV of labels, RSNA style: one row per image, or one per box.

    patientId,x,y,width,height,Target
    0004cfab,,,,,0
    00436515,264,152,213,379,1
    00436515,562,152,256,453,1

The image's name stands in `patientId`, `image` or `file`, the label in `Target` or `label`. An
image is positive if any of its rows is: a box marks what a row is about, and beside it an empty
one means nothing. Without a box, 0 and 1 for one image are a contradiction.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.files_by_name import FilesByName
from training.data.tables import Row, has_columns, read_rows
from training.data.text import capitalised
from worker.errors import Rejected

NAME_COLUMNS = ("file", "image", "patientId")
LABEL_COLUMNS = ("Target", "label")
BOX_COLUMNS = ("x", "y", "width", "height")
_VALUES = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """A file and its label."""

    file: str
    """Relative to the set's root, with slashes."""
    label: int
    """0 or 1."""
    line: str
    """The first of its lines: `line 17 of labels.csv`."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A CSV of labels, matched with the files of a folder."""

    labelled: tuple[LabelledFile, ...]
    """In the order of the files' paths."""
    without_file: tuple[str, ...]
    """The rows that no file belongs to."""


def find_labels(root: Path) -> Path | None:
    """The one CSV file of labels in a folder. Raises Rejected("LABELS_AMBIGUOUS") if several."""
    found = [p for p in sorted(root.glob("*.csv")) if has_columns(p, NAME_COLUMNS, LABEL_COLUMNS)]
    if len(found) > 1:
        raise Rejected(
            "LABELS_AMBIGUOUS",
            f"{' and '.join(path.name for path in found)} could both be the labels; name one with "
            "--labels.",
        )
    return found[0] if found else None


def read_labels(csv: Path, files: FilesByName) -> Labels:
    """Every file that the CSV names, with its label. Raises Rejected (see also training.data.tables).

    LABEL_INVALID, LABELS_CONTRADICT, FILE_NAME_AMBIGUOUS.
    """
    by_file: dict[str, list[Row]] = defaultdict(list)
    without_file: list[str] = []
    for row in read_rows(csv, NAME_COLUMNS, LABEL_COLUMNS):
        _label_of(row)  # a wrong value is an error even where the file is missing
        file = files.find(row.first_of(NAME_COLUMNS), row.line)
        if file is None:
            without_file.append(row.line)
        else:
            by_file[file].append(row)
    return Labels(labelled=tuple(_labelled(by_file)), without_file=tuple(without_file))


def _labelled(by_file: Mapping[str, Sequence[Row]]) -> Iterator[LabelledFile]:
    for file, rows in sorted(by_file.items()):
        labels = [_label_of(row) for row in rows]
        if len(set(labels)) > 1 and not any(map(_has_box, rows)):
            other = rows[labels.index(1 - labels[0])]
            raise Rejected(
                "LABELS_CONTRADICT",
                f"{capitalised(rows[0].line)} says {labels[0]} and {other.line} says "
                f"{1 - labels[0]} of the same image, and neither has a box; expected one label.",
            )
        yield LabelledFile(file=file, label=max(labels), line=rows[0].line)


def _label_of(row: Row) -> int:
    value = row.first_of(LABEL_COLUMNS)
    if value not in _VALUES:
        # A column that is not the label's may hold anything, so that only numbers are quoted.
        number = re.fullmatch(r"[-+.\d]{1,9}", value)
        found = value if number else f"a text of {len(value)} characters"
        raise Rejected(
            "LABEL_INVALID",
            f"{capitalised(row.line)} has the label {found}; expected 0 (normal) or 1 (pneumonia).",
        )
    return _VALUES[value]


def _has_box(row: Row) -> bool:
    return _label_of(row) == 1 and all(row.cells.get(column) for column in BOX_COLUMNS)
