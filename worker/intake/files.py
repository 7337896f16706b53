"""From paths to readable DICOM files: folders are searched, every refusal knows its position.

A path may hold a patient's name, so a file is identified by its position: "file 3 of 7", counted in
the order given, the files of a folder by name. One file that cannot be used is refused by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import PneumoError, Rejected, Resource
from worker.imaging.dicom_files import Source
from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage, StoredFile
from worker.storage.untrusted_files import IntakeLimits, UntrustedPath, unreadable

log = get_logger(__name__)

Paths = Sequence[Path | str | UntrustedPath] | Path | str | UntrustedPath
"""Files and folders; a single one needs no list around it."""

SKIPPED_CODES = frozenset({"NOT_DICOM", "DICOMDIR"})
"""What a folder of images may also hold (a viewer, a readme, a table of contents): skipped. An archive is
not among them, since there may be images in it."""


@dataclass(frozen=True, kw_only=True)
class ReadableFile:
    """A file with a DICOM header that identifies the instance."""

    source: UntrustedPath
    """The file, opened again for copying: `keep_copy` checks that it is still the same instance."""
    header: InstanceHeader
    """Everything but its pixels."""
    position: int
    """From 1, as in `RefusedFile`."""
    of: int
    """Number of files."""

    @property
    def path(self) -> Path:
        """Its path, which may hold a name."""
        return self.source.path


@dataclass(frozen=True, kw_only=True)
class RefusedFile:
    """A file that cannot be accepted, by its position among those given (a path may hold a name)."""

    position: int
    """From 1, in the order given; the files of a folder by name. 0: the folder as a whole."""
    of: int
    """Number of files."""
    error: Rejected
    """The reason; its sentence does not name the position."""
    path: Path | None = field(default=None, repr=False)
    """The path as given, for the terminal of whoever gave it; may hold a name."""

    def error_with_position(self) -> Rejected:
        """Return the same reason with the file's position in its sentence."""
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
    """Files found in folders that are no DICOM."""
    directories: int = 0
    """DICOMDIR files found in folders: the files that they list are read themselves."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A path before it is read."""

    source: UntrustedPath = field(repr=False)
    is_searched: bool
    """Found in a folder rather than named by the caller."""


def limits_of(settings: Settings, *, entries: int | None = None) -> IntakeLimits:
    """Return the limits of a site; `entries`: files and folders of one handover."""
    return IntakeLimits(
        file_bytes=settings.max_file_bytes, depth=settings.max_folder_depth, entries=entries
    )


def read_headers(
    paths: Paths, limits: IntakeLimits, on_file: Callable[[], None] = lambda: None
) -> FileScan:
    """Read the header of every file; `on_file` is called after each.

    Raises Rejected NO_FILES if there is no file at all; FOLDER_UNREADABLE, FOLDER_TOO_DEEP,
    TOO_MANY_FILES.
    """
    found = list(_find(paths, limits))
    readable, refused, skipped = [], [], Counter[str]()
    for position, candidate in enumerate(found, start=1):
        place = {"position": position, "of": len(found)}
        try:
            with candidate.source.open(max_bytes=limits.file_bytes) as opened:
                header = checked_header(opened.file)
        except Rejected as error:
            if candidate.is_searched and error.code in SKIPPED_CODES:
                skipped[error.code] += 1
            else:
                refused.append(RefusedFile(**place, error=error, path=candidate.source.path))
        else:
            readable.append(ReadableFile(source=candidate.source, header=header, **place))
        on_file()
    if not readable and not refused:
        raise _nothing(skipped.total())
    return FileScan(
        readable=tuple(readable),
        refused=tuple(refused),
        skipped=skipped["NOT_DICOM"],
        directories=skipped["DICOMDIR"],
    )


def keep_copy(
    source: UntrustedPath,
    storage: IntakeStorage,
    *,
    max_bytes: int,
    expected: InstanceHeader | None = None,
) -> tuple[StoredFile, InstanceHeader]:
    """Copy a file into the intake folder; return the copy and the header of that very copy.

    Whoever writes to the source meanwhile cannot make the row and the stored file differ. Raises
    Rejected as `read_headers`, FILE_CHANGED if the header is no longer the `expected` one; Resource
    as `PartFile`. Then nothing is stored.
    """
    with source.open(max_bytes=max_bytes) as opened:
        if expected is None:
            checked_header(opened.file)  # refuse a large file that is no image before copying it
        part = storage.begin()
        try:
            for chunk in _read(opened.chunks()):
                part.write(chunk)
            header = checked_header(part.path)
            if expected is not None and header != expected:
                raise _changed()
            return part.keep(), header
        finally:
            part.discard()


def checked_header(source: Source) -> InstanceHeader:
    """Read a header; every error has a code, whatever a hostile file makes the parser raise.

    `source`: a path of our own copy, or an open file of somebody else. Raises Rejected (those of
    `read_header`, FILE_UNREADABLE) and Resource OUT_OF_MEMORY, DISK_ERROR.
    """
    try:
        return read_header(source)
    except PneumoError:
        raise
    except OSError as error:
        if isinstance(source, Path):
            raise Resource("DISK_ERROR", "The copy in the intake folder cannot be read.") from None
        raise unreadable(error) from None
    except MemoryError:
        raise Resource("OUT_OF_MEMORY", "The instance does not fit into memory.") from None
    except Exception as error:  # noqa: BLE001  one file must not end the intake of its neighbours
        reference = log_traceback(error, log, code="HEADER_UNREADABLE")
        raise Rejected(
            "HEADER_UNREADABLE",
            "The header cannot be read, for a reason that nobody foresaw; expected a DICOM file "
            f"(PS3.10). Report the traceback {reference} in the log; leave the file out meanwhile.",
        ) from None


def _read(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass chunks on; an error of reading is the source's, not the disk's we write to."""
    try:
        yield from chunks
    except OSError as error:
        raise unreadable(error) from None


def _find(paths: Paths, limits: IntakeLimits) -> Iterator[_Candidate]:
    for path in [paths] if isinstance(paths, Path | str | UntrustedPath) else paths:
        given = path if isinstance(path, UntrustedPath) else UntrustedPath(top=Path(path))
        if not given.is_folder():
            yield _Candidate(source=given, is_searched=False)
            continue
        try:
            inside = given.files(limits)
        except OSError:
            raise Rejected(
                "FOLDER_UNREADABLE",
                "A folder that was given, or one inside it, cannot be listed, so nothing was "
                "accepted. Check that this user may read all of it.",
            ) from None
        yield from (_Candidate(source=source, is_searched=True) for source in inside)


def _changed() -> Rejected:
    return Rejected(
        "FILE_CHANGED",
        "The file changed while it was read; expected a file that nobody writes to any more. Send "
        "it again when it is complete.",
    )


def _nothing(skipped: int) -> Rejected:
    if skipped:
        return Rejected(
            "NO_FILES",
            f"None of the {skipped} files found is a DICOM instance. Give the folder or the files "
            "that hold the images.",
        )
    return Rejected("NO_FILES", "No file was given. Name DICOM files, or folders that hold some.")
