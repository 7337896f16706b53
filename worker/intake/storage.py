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
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worker.errors import Rejected, Resource
from worker.intake.data_set import data_set_sha256

Bytes = bytes | memoryview

CHUNK = 1 << 20
"""Bytes copied at a time."""
SUFFIX, INCOMING = ".dcm", "incoming"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the device, in the quota, or under the process's limit: the same to a sender."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that lies in the intake folder, flushed to the disk."""

    name: str
    """Relative to the intake folder and opaque: "ab/<sha256>.dcm", "ab" its first two digits."""
    sha256: str
    """64 hex digits over the file's bytes."""
    data_set_sha256: str
    """64 hex digits over the bytes after the file meta."""
    size: int
    """Bytes."""


class IntakeStorage:
    """One intake folder; made at the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep_bytes(self, *parts: Bytes) -> StoredFile:
        """Keep the parts, one after the other, as one file.

        Raises Resource DISK_FULL or DISK_ERROR; then nothing was kept.
        """
        return self._keep(parts)

    def keep_chunks(self, chunks: Iterable[Bytes]) -> StoredFile:
        """Keep what an iterator gives as one file; it need never be in memory as a whole.

        Raises as above; what `chunks` raises passes as it is, and then nothing was kept either.
        """
        return self._keep(chunks)

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

    def free_bytes(self) -> int:
        """Room left on the disk of the intake folder."""
        with _as_resource():
            return shutil.disk_usage(_folder(self.folder)).free

    def discard(self, name: str) -> None:
        """Forget a file that nobody needs any more, if that can be done; nothing hangs on it."""
        with suppress(OSError):
            self.path_of(name).unlink(missing_ok=True)

    def sweep_leftovers(self, *, older_than_s: float) -> int:
        """Delete what processes that died in mid-write left behind; says how many files."""
        oldest = time.time() - older_than_s
        swept = 0
        for part in (self.folder / INCOMING).glob("*.part"):
            with suppress(FileNotFoundError):  # another process sweeps too, or its writer finished
                if part.stat().st_mtime < oldest:
                    part.unlink()
                    swept += 1
        return swept

    def _keep(self, chunks: Iterable[Bytes]) -> StoredFile:
        """Write aside while hashing, then give the file its name."""
        with _as_resource():
            incoming = _folder(self.folder / INCOMING)
            part = incoming / f"{secrets.token_hex(16)}.part"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            sha256, size = _write_through(descriptor, chunks)
            with _as_resource():
                data_set = data_set_sha256(part)
            name = f"{sha256[:2]}/{sha256}{SUFFIX}"
            with _as_resource():
                target = _folder(self.folder / sha256[:2]) / f"{sha256}{SUFFIX}"
                part.replace(target)
                _flush(target.parent)
                _flush(self.folder)  # whoever made the inner folder may not have got so far yet
        finally:
            part.unlink(missing_ok=True)
        return StoredFile(name=name, sha256=sha256, data_set_sha256=data_set, size=size)


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


def _write_through(descriptor: int, chunks: Iterable[Bytes]) -> tuple[str, int]:
    """Write, hash, flush and close; returns (sha256, size). What `chunks` raises passes as it is."""
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            with _as_resource():
                _write_all(descriptor, memoryview(chunk))
        with _as_resource():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest(), size


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
