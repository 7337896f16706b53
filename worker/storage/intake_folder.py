"""The intake folder: accepted files under the names of their content, whole or not at all.

A file is written under a temporary name, flushed to the disk, and only then renamed; then its folder
is flushed. So whatever dies in between, a name always stands for a complete file, and a name that was
returned survives a power cut. Any number of threads and processes may write at once: the same content
has the same name, and a rename replaces a file by an equal one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from worker.errors import Resource
from worker.logging import get_logger
from worker.storage.content import content_sha256
from worker.storage.untrusted_files import errno_name

log = get_logger(__name__)

Bytes = bytes | memoryview

EARLY_BYTES = 1 << 22
"""After so many bytes the disk level is checked and writing back begins, while more is arriving."""
SUFFIX, INCOMING = ".dcm", "incoming"
FOLDER_MISSING = "INTAKE_FOLDER_MISSING"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the device, in the quota, or under the process's limit: the same for a sender."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in the intake folder, flushed to the disk."""

    name: str
    """Relative to the intake folder and opaque: "ab/<sha256>.dcm", "ab" its first two digits."""
    sha256: str
    """64 hex digits over the file's bytes."""
    content_sha256: str
    """64 hex digits: the same for the same data set, whatever its file meta (content.py)."""
    size: int
    """Bytes."""


class IntakeStorage:
    """One intake folder, created with its first file if `may_create_folder` (storage_factory.py)."""

    def __init__(
        self,
        folder: Path,
        *,
        may_create_folder: Callable[[], bool] = lambda: True,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_room` is called while a file is written, and raises Resource to end that."""
        self.folder = folder
        self._may_create_folder, self._check_room = may_create_folder, check_room

    def begin(self) -> PartFile:
        """Begin a new, empty file.

        Raises Resource DISK_FULL, DISK_ERROR or INTAKE_FOLDER_MISSING.
        """
        if not (self.folder / INCOMING).is_dir() and not self._may_create_folder():
            raise _missing()
        with _as_resource():
            return PartFile(self.folder, check_room=self._check_room)

    def keep_bytes(self, *parts: Bytes) -> StoredFile:
        """Store the parts, one after the other, as one file.

        Raises Resource as `begin` and PartFile do; then nothing was stored.
        """
        part = self.begin()
        try:
            for piece in parts:
                part.write(piece)
            return part.keep()
        finally:
            part.discard()

    def path_of(self, name: str) -> Path:
        """Return the path of a stored file. `name` comes from our own rows, never from a message."""
        return self.folder / name

    def holds(self, name: str) -> bool:
        """Return whether a file of this name exists now."""
        return self.path_of(name).is_file()

    def discard(self, name: str) -> None:
        """Delete a file that nobody needs, if possible; nothing depends on that."""
        with suppress(OSError):
            self.path_of(name).unlink(missing_ok=True)

    def sweep_part_files(self, *, older_than_s: float) -> int:
        """Delete what processes that died while writing left behind; return how many files.

        A file that cannot be deleted remains, with a line in the log.
        """
        oldest = time.time() - older_than_s
        swept, remaining = 0, Counter[str]()
        for part in self._parts(remaining):
            try:
                if part.stat().st_mtime < oldest:
                    part.unlink()
                    swept += 1
            except FileNotFoundError:  # another process sweeps too, or its writer finished
                pass
            except OSError as error:
                remaining[errno_name(error)] += 1
        if remaining:
            log.warning(
                "leftovers_stay", code="LEFTOVERS_STAY", files=remaining.total(), why=[*remaining]
            )
        return swept

    def _parts(self, remaining: Counter[str]) -> list[Path]:
        try:
            return list((self.folder / INCOMING).glob("*.part"))
        except OSError as error:  # a share that is away
            remaining[errno_name(error)] += 1
            return []


class PartFile:
    """A file that is being written, hashed as it grows; without its final name until `keep`.

    One thread at a time. A file that is never kept is removed: when it is discarded, with its last
    reference, or at the end of the process, and after a kill by `sweep_part_files`.
    """

    def __init__(self, folder: Path, *, check_room: Callable[[], None] = lambda: None) -> None:
        self._folder, self._check_room = folder, check_room
        self.path = _folder(folder / INCOMING) / f"{secrets.token_hex(16)}.part"
        """Its path until it is kept; it may be read there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self.path, flags, 0o640)
        self._undo = weakref.finalize(self, _close_and_unlink, self._descriptor, self.path)
        self._digest = hashlib.sha256()
        self._our_head = False
        self.size = self._written_back = 0
        """Bytes so far."""

    def write(self, piece: Bytes) -> None:
        """Append. Raises Resource DISK_FULL, DISK_ERROR or that of `check_room`; then discard it."""
        self._digest.update(piece)
        self.size += len(piece)
        with _as_resource():
            _write_all(self._descriptor, memoryview(piece))
            if is_due := self.size - self._written_back >= EARLY_BYTES:
                self._start_writeback()
        if is_due:
            self._check_room()

    def mark_own_file_head(self) -> None:
        """Declare that it begins with `content.file_head`, so that `keep` need not read it again."""
        self._our_head = True

    def keep(self) -> StoredFile:
        """Flush it to the disk and rename it to the name of its content. Raises as `write`."""
        sha256 = self._digest.hexdigest()
        with _as_resource():
            os.fsync(self._descriptor)
            content = sha256 if self._our_head else content_sha256(self.path)
            target = _inner(self._folder / sha256[:2]) / f"{sha256}{SUFFIX}"
            self.path.replace(target)
            _flush(target.parent)
            _flush(
                self._folder
            )  # another process may have created the inner folder and not flushed it yet
        self.discard()  # closes the descriptor
        return StoredFile(
            name=f"{sha256[:2]}/{target.name}",
            sha256=sha256,
            content_sha256=content,
            size=self.size,
        )

    def _start_writeback(self) -> None:
        """Let the disk begin to write, so that `keep` waits for less.

        Linux takes this advice as "write it back now"; pages that are still dirty stay in memory.
        """
        length = self.size - self._written_back
        os.posix_fadvise(self._descriptor, self._written_back, length, os.POSIX_FADV_DONTNEED)
        self._written_back = self.size

    def discard(self) -> None:
        """Remove it; harmless after `keep`."""
        self._undo()


def _close_and_unlink(descriptor: int, path: Path) -> None:
    with suppress(OSError):  # a device may report a failure only now; nobody needs this file
        os.close(descriptor)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _write_all(descriptor: int, left: memoryview) -> None:
    """Write all: a nearly full device may accept only a part at a time."""
    while left:
        left = left[os.write(descriptor, left) :]


def _folder(path: Path) -> Path:
    """Return the folder, created if need be, with its own name flushed to the disk."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=0o750, exist_ok=True)
        _flush(path.parent)
    return path


def _inner(path: Path) -> Path:
    """Return the same for a folder in the intake folder. Raises OSError if that is missing by now."""
    if not path.is_dir():
        path.mkdir(mode=0o750, exist_ok=True)
        _flush(path.parent)
    return path


def _missing() -> Resource:
    return Resource(
        FOLDER_MISSING,
        "The intake folder is missing or empty, although the database knows images; it is never "
        "created anew. Nothing was accepted. Mount or move it back to where PNEUMO_STATE_DIR says, "
        "and send again; if it is lost for good, create the folder intake/incoming there.",
    )


def _flush(folder: Path) -> None:
    """Flush a folder: a rename is on the disk only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_resource() -> Iterator[None]:
    """Turn an error of writing into a code and a sentence; the system's own text has the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Resource(
                "DISK_FULL",
                f"There is no space left for the intake folder ({errno_name(error)}), so nothing was "
                "accepted. Make room on its disk and send again.",
            ) from None
        raise Resource(
            "DISK_ERROR",
            f"The intake folder cannot be written ({errno_name(error)}), so nothing was accepted. "
            "Check that it is mounted and that this process may write to it (PNEUMO_STATE_DIR).",
        ) from None
