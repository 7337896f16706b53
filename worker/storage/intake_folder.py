"""The intake folder: accepted files under the names of their content, whole or not at all.

A file is written aside, flushed to the disk, and only then given its name; then its folder is
flushed. So whatever dies in between, a name always stands for a complete file, and a name that was
handed out survives a power cut. Any number of threads and processes may write at once: the same
content has the same name, and a rename replaces a file by an equal one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worker.errors import Rejected, Resource
from worker.logging import get_logger
from worker.storage.content import content_sha256

log = get_logger(__name__)

Bytes = bytes | memoryview

CHUNK = 1 << 20
"""Bytes copied at a time."""
EARLY_BYTES = 1 << 22
"""After so many bytes the disk is set to work, while more are still coming."""
SUFFIX, INCOMING = ".dcm", "incoming"
FOLDER_MISSING = "INTAKE_FOLDER_MISSING"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the device, in the quota, or under the process's limit: the same to a sender."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that lies in the intake folder, flushed to the disk."""

    name: str
    """Relative to the intake folder and opaque: "ab/<sha256>.dcm", "ab" its first two digits."""
    sha256: str
    """64 hex digits over the file's bytes."""
    content_sha256: str
    """64 hex digits: the same for the same data set, however it was wrapped (`content`)."""
    size: int
    """Bytes."""


class IntakeStorage:
    """One intake folder; made at the first file, if it `may_create_folder` (worker/storage/storage_factory.py)."""

    def __init__(
        self, folder: Path, *, may_create_folder: Callable[[], bool] = lambda: True
    ) -> None:
        self.folder = folder
        self._may_create_folder = may_create_folder

    def begin(self) -> PartFile:
        """A new file of which nothing is written yet.

        Raises Resource DISK_FULL, DISK_ERROR or INTAKE_FOLDER_MISSING.
        """
        if not (self.folder / INCOMING).is_dir() and not self._may_create_folder():
            raise _missing()
        with _as_resource():
            return PartFile(self.folder)

    def keep_bytes(self, *parts: Bytes) -> StoredFile:
        """Keep the parts, one after the other, as one file.

        Raises Resource as `begin`; then nothing was kept.
        """
        return self._keep(parts)

    def keep_file(self, path: Path) -> StoredFile:
        """Keep a copy of a file. Raises as above, and Rejected FILE_UNREADABLE."""
        try:
            with path.open("rb") as source:
                return self._keep(_chunks(source))
        except OSError as error:
            raise unreadable(error) from None

    def path_of(self, name: str) -> Path:
        """Where a kept file lies. `name` comes from our own rows, never from a message."""
        return self.folder / name

    def holds(self, name: str) -> bool:
        """Whether a file of this name lies here now."""
        return self.path_of(name).is_file()

    def discard(self, name: str) -> None:
        """Forget a file that nobody needs any more, if that can be done; nothing hangs on it."""
        with suppress(OSError):
            self.path_of(name).unlink(missing_ok=True)

    def sweep_part_files(self, *, older_than_s: float) -> int:
        """Delete what processes that died in mid-write left behind; says how many files.

        What cannot be removed stays, with a line in the log: whoever tidies has better to do than to
        die of it.
        """
        oldest = time.time() - older_than_s
        swept, stays = 0, Counter[str]()
        for part in self._parts(stays):
            try:
                if part.stat().st_mtime < oldest:
                    part.unlink()
                    swept += 1
            except FileNotFoundError:  # another process sweeps too, or its writer finished
                pass
            except OSError as error:
                stays[_name_of(error)] += 1
        if stays:
            log.warning("leftovers_stay", code="LEFTOVERS_STAY", files=stays.total(), why=[*stays])
        return swept

    def _parts(self, stays: Counter[str]) -> list[Path]:
        try:
            return list((self.folder / INCOMING).glob("*.part"))
        except OSError as error:  # a share that is away
            stays[_name_of(error)] += 1
            return []

    def _keep(self, chunks: Iterable[Bytes]) -> StoredFile:
        part = self.begin()
        try:
            for chunk in chunks:
                part.write(chunk)
            return part.keep()
        finally:
            part.discard()


class PartFile:
    """A file that is being written aside, hashed as it grows; without a name until it is kept.

    One thread at a time. What is never kept vanishes: when it is discarded, with its last
    reference, or at the end of the process, and after a kill by `sweep_part_files`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = _folder(folder / INCOMING) / f"{secrets.token_hex(16)}.part"
        """Where it lies until it is kept; it may be read there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self.path, flags, 0o640)
        self._undo = weakref.finalize(self, _close_and_unlink, self._descriptor, self.path)
        self._digest = hashlib.sha256()
        self._our_head = False
        self._size = self._on_its_way = 0

    def write(self, piece: Bytes) -> None:
        """Append. Raises Resource DISK_FULL or DISK_ERROR; then it can only be discarded."""
        self._digest.update(piece)
        self._size += len(piece)
        with _as_resource():
            _write_all(self._descriptor, memoryview(piece))
            if self._size - self._on_its_way >= EARLY_BYTES:
                self._start_writeback()

    def mark_own_file_head(self) -> None:
        """It begins with `content.file_head`; else `keep` reads it again for its content's digest."""
        self._our_head = True

    def keep(self) -> StoredFile:
        """Flush it to the disk and give it the name of its content. Raises as `write`."""
        sha256 = self._digest.hexdigest()
        with _as_resource():
            os.fsync(self._descriptor)
            content = sha256 if self._our_head else content_sha256(self.path)
            target = _inner(self._folder / sha256[:2]) / f"{sha256}{SUFFIX}"
            self.path.replace(target)
            _flush(target.parent)
            _flush(self._folder)  # whoever made the inner folder may not have got so far yet
        self.discard()  # nothing but the open descriptor
        return StoredFile(
            name=f"{sha256[:2]}/{target.name}",
            sha256=sha256,
            content_sha256=content,
            size=self._size,
        )

    def _start_writeback(self) -> None:
        """Let the disk begin with what is there, so that `keep` has less to wait for.

        Linux takes this advice as "write it back now"; pages that are still dirty stay in memory.
        """
        length = self._size - self._on_its_way
        os.posix_fadvise(self._descriptor, self._on_its_way, length, os.POSIX_FADV_DONTNEED)
        self._on_its_way = self._size

    def discard(self) -> None:
        """Leave nothing behind; harmless after `keep`."""
        self._undo()


def _close_and_unlink(descriptor: int, path: Path) -> None:
    with suppress(OSError):  # a device may tell only now that it failed; nobody needs this file
        os.close(descriptor)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def unreadable(error: OSError) -> Rejected:
    """Why a file cannot be read, by the system's name for it: its words would hold the path."""
    return Rejected(
        "FILE_UNREADABLE",
        f"A file cannot be read ({_name_of(error)}). Check that it is there and that this user may "
        "read it.",
    )


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _write_all(descriptor: int, left: memoryview) -> None:
    """A file on a nearly full device may take only a part of what it is given."""
    while left:
        left = left[os.write(descriptor, left) :]


def _folder(path: Path) -> Path:
    """The folder, made if need be, with its own name flushed to the disk."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=0o750, exist_ok=True)
        _flush(path.parent)
    return path


def _inner(path: Path) -> Path:
    """The same of a folder in the intake folder, which may have gone away meanwhile: OSError."""
    if not path.is_dir():
        path.mkdir(mode=0o750, exist_ok=True)
        _flush(path.parent)
    return path


def _missing() -> Resource:
    return Resource(
        FOLDER_MISSING,
        "The intake folder is not there, or is empty, although the database knows images; it is "
        "never made anew. Nothing was taken over. Mount or move it back to where PNEUMO_STATE_DIR "
        "says, and send again; if it is lost for good, make the folder intake/incoming there.",
    )


def _flush(folder: Path) -> None:
    """A rename is on the disk only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_resource() -> Iterator[None]:
    """An error of writing as a code and a sentence; the system's own words would name paths."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Resource(
                "DISK_FULL",
                f"There is no space left for the intake folder ({_name_of(error)}), so nothing was "
                "taken over. Make room on its disk and send again.",
            ) from None
        raise Resource(
            "DISK_ERROR",
            f"The intake folder cannot be written ({_name_of(error)}), so nothing was taken over. "
            "Check that it is mounted and that this process may write to it (PNEUMO_STATE_DIR).",
        ) from None


def _name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown reason")
