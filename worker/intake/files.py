"""From paths to readable DICOM files: folders are searched, every refusal knows its place.

A path may hold a patient's name, so a file is called by its position: "file 3 of 7", counted in the
order given, the files of a folder by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import Rejected
from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header
from worker.storage.intake_folder import unreadable

Paths = Sequence[Path | str] | Path | str
"""Files and folders; a single one needs no list around it."""

SKIPPED_CODES = frozenset({"NOT_DICOM", "DICOMDIR"})
"""What may lie in a folder of images (a viewer, a readme, a table of contents) and is skipped."""


@dataclass(frozen=True, kw_only=True)
class ReadableFile:
    """A file with a DICOM header that tells which instance it is."""

    path: Path = field(repr=False)
    """Where it lies; may hold a name."""
    header: InstanceHeader
    """Everything but its pixels."""
    position: int
    """From 1, as in `RefusedFile`."""
    of: int
    """How many files there were."""


@dataclass(frozen=True, kw_only=True)
class RefusedFile:
    """A file that cannot be taken over, by its place among those given (a path may hold a name)."""

    position: int
    """From 1, in the order given; the files of a folder by name."""
    of: int
    """How many files there were."""
    error: Rejected
    """Why; its sentence does not say the place."""
    path: Path | None = field(default=None, repr=False)
    """The path as given, for the terminal of whoever gave it; may hold a name."""

    def error_with_position(self) -> Rejected:
        """The same reason with the file's place in its sentence."""
        sentence = f"File {self.position} of {self.of}: {self.error.sentence}"
        return Rejected(self.error.code, sentence)


@dataclass(frozen=True, kw_only=True)
class FileScan:
    """What the given paths turned out to be."""

    readable: tuple[ReadableFile, ...]
    """In the order given."""
    refused: tuple[RefusedFile, ...]
    """In the order given."""
    skipped: int
    """Files found in folders that are no DICOM instances."""


def read_headers(paths: Paths, on_file: Callable[[], None] = lambda: None) -> FileScan:
    """Read the header of every file; `on_file` is called after each.

    Raises Rejected NO_FILES if there is nothing at all, FOLDER_UNREADABLE.
    """
    found = list(_find(paths))
    readable, refused, skipped = [], [], 0
    for position, (path, searched) in enumerate(found, start=1):
        try:
            header = _read(path)
        except Rejected as error:
            if searched and error.code in SKIPPED_CODES:
                skipped += 1
            else:
                refused.append(
                    RefusedFile(position=position, of=len(found), error=error, path=path)
                )
        else:
            readable.append(
                ReadableFile(path=path, header=header, position=position, of=len(found))
            )
        on_file()
    if not readable and not refused:
        raise _nothing(skipped)
    return FileScan(readable=tuple(readable), refused=tuple(refused), skipped=skipped)


def _find(paths: Paths) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was found in a folder rather than named."""
    for path in map(Path, [paths] if isinstance(paths, Path | str) else paths):
        if path.is_dir():
            yield from ((inside, True) for inside in _files_under(path))
        else:
            yield path, False


def _files_under(folder: Path) -> Iterable[Path]:
    """All files under a folder, by name. A part that cannot be listed is no reason to skip it."""

    def refuse(_: OSError) -> None:
        raise Rejected(
            "FOLDER_UNREADABLE",
            "A folder that was given, or one inside it, cannot be listed, so nothing was taken "
            "over. Check that this user may read all of it.",
        ) from None

    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
    ]
    return sorted(found)


def _read(path: Path) -> InstanceHeader:
    try:
        return read_header(path)
    except OSError as error:
        raise unreadable(error) from None


def _nothing(skipped: int) -> Rejected:
    if skipped:
        return Rejected(
            "NO_FILES",
            f"None of the {skipped} files found is a DICOM instance. Give the folder or the files "
            "that hold the images.",
        )
    return Rejected("NO_FILES", "No file was given. Name DICOM files, or folders that hold some.")
