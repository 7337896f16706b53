"""CSV files of other people: read whole, columns found by name, every error named by its line.

No cell is quoted in an error: where a heading is missing, the first line may hold a patient.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.text import capitalised
from worker.errors import Rejected


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    line: str
    """`line 17 of labels.csv`, for messages."""
    cells: dict[str, str]
    """Column, in lower case -> what stands in it; an empty text where nothing does."""

    def first_of(self, columns: Sequence[str]) -> str:
        """The cell of the first of these columns that the table has. Raises Rejected if empty."""
        column = next(column for column in columns if column.lower() in self.cells)
        if not (cell := self.cells[column.lower()]):
            raise Rejected(
                "CSV_CELL_EMPTY",
                f"{capitalised(self.line)} has nothing in its column {column}; fill it in or "
                "delete the line.",
            )
        return cell


def read_rows(path: Path, *columns: Sequence[str]) -> tuple[Row, ...]:
    """Every line below the heading; of each of `columns`, one of the alternatives must be there.

    Raises Rejected CSV_MISSING, CSV_UNREADABLE, CSV_COLUMN_MISSING, CSV_EMPTY.
    """
    heading, lines = _read(path)
    for alternatives in columns:
        if not _has(heading, alternatives):
            raise Rejected(
                "CSV_COLUMN_MISSING",
                f"The first line of {path.name} names {len(heading)} columns, none of them "
                f"{' or '.join(alternatives)}; expected such a column, and commas between columns.",
            )
    if not lines:
        raise Rejected("CSV_EMPTY", f"The file {path.name} has no line below its heading.")
    return tuple(
        Row(
            line=f"line {number} of {path.name}",
            cells=dict(zip(heading, [*cells, *[""] * len(heading)], strict=False)),
        )
        for number, cells in lines
    )


def has_columns(path: Path, *columns: Sequence[str]) -> bool:
    """Whether a file is a table that has one of the alternatives of each of `columns`."""
    try:
        heading, _ = _read(path)
    except Rejected:
        return False
    return all(_has(heading, alternatives) for alternatives in columns)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The heading in lower case, and (line number, cells) of every line that is not blank."""
    if not path.is_file():
        raise Rejected("CSV_MISSING", f"There is no file {path.name}; give the path of a CSV file.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark
            reader = csv.reader(file, strict=True)
            heading = [cell.strip().lower() for cell in next(reader, [])]
            lines = [
                (reader.line_num, [cell.strip() for cell in cells])
                for cells in reader
                if any(cells)
            ]
    except (csv.Error, UnicodeDecodeError):
        raise Rejected(
            "CSV_UNREADABLE",
            f"The file {path.name} is no CSV file in UTF-8; save it as one, with commas.",
        ) from None
    return heading, lines


def _has(heading: Sequence[str], alternatives: Sequence[str]) -> bool:
    return any(column.lower() in heading for column in alternatives)
