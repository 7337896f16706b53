"""The intake folder: every accepted file, byte for byte, under a name that says nothing.

A file is named by the SHA-256 of its bytes, so the same file is kept once however often it comes,
and a file that was left behind by a crash before its row was written is taken up again by the
sender's next try.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.errors import Rejected, Resource

CHUNK = 1 << 20
"""Bytes read at a time: a 60 MB image is never whole in memory for being copied."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that is safely on disk."""

    name: str
    """Relative to the intake folder, e.g. `3f/3f9c….dcm`; opaque."""
    sha256: str
    """64 hex digits over its bytes."""
    size: int
    """Bytes."""


class IntakeStorage:
    """Files under one folder; safe to use from any number of threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep_bytes(self, *parts: bytes | memoryview) -> StoredFile:
        """Keep a file made of these parts. Raises Resource("DISK_FULL" | "DISK_ERROR")."""
        return self._keep(parts)

    def keep_file(self, path: Path) -> StoredFile:
        """Keep a copy of a file. Raises Rejected if it cannot be read, Resource as above."""
        try:
            source = path.open("rb")
        except OSError as error:
            raise Rejected(
                "FILE_UNREADABLE",
                f"A file cannot be read ({error.strerror}). Check that it exists and that this "
                "user may read it.",
            ) from None
        with source:
            return self._keep(iter(lambda: source.read(CHUNK), b""))

    def path_of(self, name: str) -> Path:
        """Where a kept file lies."""
        return self.folder / name

    def free_bytes(self) -> int:
        """Room left on the disk of the intake folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def _keep(self, parts: Iterable[bytes | memoryview]) -> StoredFile:
        """Temporary name, fsync, rename, fsync of the folder: after this it survives a power cut."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                try:
                    sha256, size = _write(file.fileno(), parts)
                    name = f"{sha256[:2]}/{sha256}.dcm"
                    _put_in_place(Path(file.name), self.folder / name)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise _disk_error(error) from None
        return StoredFile(name=name, sha256=sha256, size=size)


def _write(file: int, parts: Iterable[bytes | memoryview]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for part in parts:
        for chunk in _chunks(part):
            digest.update(chunk)
            size += os.write(file, chunk)
    os.fsync(file)
    return digest.hexdigest(), size


def _chunks(part: bytes | memoryview) -> Iterator[memoryview]:
    """os.write may write less than it is given only for signals and full disks; keep pieces small."""
    view = memoryview(part)
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def _put_in_place(temporary: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    temporary.replace(target)
    for folder in (target.parent, target.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _disk_error(error: OSError) -> Resource:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Resource(
            "DISK_FULL",
            "The disk of the intake folder is full, so the file was not taken over. Free space "
            "and send it again.",
        )
    return Resource(
        "DISK_ERROR",
        f"The intake folder could not be written ({error.strerror}), so the file was not taken "
        "over. Check the disk and send it again.",
    )
