"""Files and folders that somebody else wrote: regular files only, no links, of a bounded size.

Such a path may name anything: a FIFO whose opening never returns, a device, a link out of the folder,
a sparse file of a petabyte. So nothing below a folder is opened by its path. Each component is opened
relative to the descriptor of its parent, with O_NOFOLLOW (no link is followed), O_NONBLOCK (a FIFO does
not block) and O_CLOEXEC, and fstat of the opened descriptor decides. The folder at the top is named by
an operator or by our settings, and may be a link.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from worker.errors import Rejected

CHUNK = 1 << 20
"""Bytes read at a time."""
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = _FILE | os.O_DIRECTORY
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}


class FileStamp(NamedTuple):
    """What changes when a file is replaced or written."""

    inode: int
    size: int
    """Bytes."""
    modified_ns: int
    """Time of the last change."""

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Return the stamp of a file's status."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class IntakeLimits:
    """How much may be accepted at once."""

    file_bytes: int
    """Size of one file."""
    depth: int
    """Folders inside folders."""
    entries: int | None = None
    """Files and folders together; None: any number, as an operator may give them."""


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A regular file that was opened safely; whatever happens to its path, this is the file."""

    file: BinaryIO
    """Positioned at its start."""
    stamp: FileStamp
    """As it was when it was opened."""
    max_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the content. Raises Rejected FILE_TOO_LARGE if it grows beyond the limit meanwhile."""
        self.file.seek(0)
        read = 0
        while chunk := self.file.read(CHUNK):
            read += len(chunk)
            if read > self.max_bytes:
                raise _too_large(read, self.max_bytes)
            yield chunk


@dataclass(frozen=True, kw_only=True)
class UntrustedPath:
    """A file or folder by the components of its path below a trusted folder."""

    top: Path = field(repr=False)
    """Named by an operator or by our settings; may be a link."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """Components below `top`, none of which may be a link. None: `top` itself."""

    @property
    def path(self) -> Path:
        """The path, for comparing and for tests; never opened."""
        return self.top.joinpath(*self.names)

    def __truediv__(self, name: str) -> UntrustedPath:
        return UntrustedPath(top=self.top, names=(*self.names, name))

    def is_folder(self) -> bool:
        """Return whether this is a folder and no link to one, save at the top."""
        try:
            return stat.S_ISDIR(self.status().st_mode)
        except OSError:
            return False

    def exists(self) -> bool:
        """Return whether there is anything under this name, be it a broken link."""
        try:
            self.status()
        except OSError:
            return False
        return True

    def status(self) -> os.stat_result:
        """Return lstat, or stat of the top. Raises OSError."""
        if not self.names:
            return self.top.stat()
        with self.opened_parent() as parent:
            return os.stat(self.names[-1], dir_fd=parent, follow_symlinks=False)

    @contextmanager
    def open(self, *, max_bytes: int) -> Iterator[OpenedFile]:
        """Open a regular file of at most `max_bytes`.

        Raises Rejected LINK_REFUSED, NOT_A_REGULAR_FILE, FILE_TOO_LARGE or FILE_UNREADABLE; what
        the block itself raises is passed on as it is.
        """
        try:
            descriptor = self._open_regular()
        except OSError as error:
            raise unreadable(error) from None
        with os.fdopen(descriptor, "rb") as file:
            stamp = FileStamp.of(os.fstat(descriptor))
            if stamp.size > max_bytes:
                raise _too_large(stamp.size, max_bytes)
            yield OpenedFile(file=file, stamp=stamp, max_bytes=max_bytes)

    def _open_regular(self) -> int:
        """Return a descriptor. The status is checked first, since opening a device may act on it."""
        _refuse_irregular(self.status().st_mode)
        if self.names:
            with self.opened_parent() as parent:
                descriptor = os.open(self.names[-1], _FILE | os.O_NOFOLLOW, dir_fd=parent)
        else:
            descriptor = os.open(self.top, _FILE)
        try:
            _refuse_irregular(os.fstat(descriptor).st_mode)  # it may have been replaced meanwhile
        except Rejected:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def opened_folder(self) -> Iterator[int]:
        """Open a folder; yield its descriptor. Raises OSError, also if a component is a link."""
        descriptor = _open_folder(self.top, self.names)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def opened_parent(self) -> AbstractContextManager[int]:
        """Open the folder that holds this name, which is not the top."""
        return UntrustedPath(top=self.top, names=self.names[:-1]).opened_folder()

    def files(
        self,
        limits: IntakeLimits,
        *,
        skip_folder: Callable[[UntrustedPath], bool] = lambda _: False,
    ) -> list[UntrustedPath]:
        """Return everything under this folder that is no folder, by name.

        Links, FIFOs and the like are among them: `open` refuses each by its code.

        Raises:
            Rejected: FOLDER_TOO_DEEP, TOO_MANY_FILES.
            OSError: A folder cannot be listed.
        """
        found: list[UntrustedPath] = []
        entries, waiting = 0, [self]
        while waiting:
            folder = waiting.pop()
            if len(folder.names) - len(self.names) > limits.depth:
                raise too_deep(limits.depth)
            with folder.opened_folder() as descriptor, os.scandir(descriptor) as listing:
                for entry in listing:
                    entries += 1
                    if limits.entries is not None and entries > limits.entries:
                        raise _too_many(limits.entries)
                    if not entry.is_dir(follow_symlinks=False):
                        found.append(folder / entry.name)
                    elif not skip_folder(folder / entry.name):
                        waiting.append(folder / entry.name)
        return sorted(found, key=lambda path: path.names)

    def remove_if_unchanged(self, stamp: FileStamp) -> bool:
        """Delete the file unless it was written again; return whether it is gone. Raises OSError."""
        with self.opened_parent() as parent:
            status = os.stat(self.names[-1], dir_fd=parent, follow_symlinks=False)
            if FileStamp.of(status) != stamp:
                return False
            os.unlink(self.names[-1], dir_fd=parent)
        return True

    def make_folder(self) -> None:
        """Create this folder and those above it, below the top. Raises OSError."""
        for depth in range(len(self.names)):
            inner = UntrustedPath(top=self.top, names=self.names[: depth + 1])
            with inner.opened_parent() as parent:
                try:
                    os.mkdir(inner.names[-1], mode=0o750, dir_fd=parent)
                except FileExistsError:
                    continue

    def move_to(self, target: UntrustedPath) -> None:
        """Rename; a file that was there is replaced, a folder that was there is removed first."""
        with self.opened_parent() as source, target.opened_parent() as parent:
            name = target.names[-1]
            if target.is_folder():
                shutil.rmtree(name, dir_fd=parent)
            os.rename(self.names[-1], name, src_dir_fd=source, dst_dir_fd=parent)

    def write_text(self, text: str) -> None:
        """Write a new file and put it under this name, whatever was there. Raises OSError."""
        part = f".{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.opened_parent() as parent:
            descriptor = os.open(part, flags, 0o640, dir_fd=parent)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            os.rename(part, self.names[-1], src_dir_fd=parent, dst_dir_fd=parent)


def unreadable(error: OSError) -> Rejected:
    """Return the refusal for a file that cannot be read, with the error's name: its text has the path."""
    if error.errno == errno.ELOOP:
        return link_refused()
    return Rejected(
        "FILE_UNREADABLE",
        f"A file cannot be read ({errno_name(error)}). Check that it exists and that this user may "
        "read it.",
    )


def errno_name(error: OSError) -> str:
    """Return the symbolic name of a system error, such as ENOENT."""
    return errno.errorcode.get(error.errno or 0, "unknown reason")


def link_refused() -> Rejected:
    """Return the refusal for a symbolic link."""
    return Rejected(
        "LINK_REFUSED",
        "Found a symbolic link; expected a regular file or a folder, since a link may lead out of "
        "the folder that was given. Put the file itself in its place.",
    )


def irregular(mode: int, *, expected: str = "a regular file") -> Rejected:
    """Return the refusal for a FIFO, socket, device, or a folder in place of a file."""
    kind = _KINDS.get(stat.S_IFMT(mode), "something that is no file")
    return Rejected(
        "NOT_A_REGULAR_FILE",
        f"Found {kind}; expected {expected}. Remove it, or put a DICOM file in its place.",
    )


def _refuse_irregular(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise link_refused()
    if not stat.S_ISREG(mode):
        raise irregular(mode)


def _too_large(size: int, limit: int) -> Rejected:
    return Rejected(
        "FILE_TOO_LARGE",
        f"Found a file of {size} bytes; expected at most {limit} (PNEUMO_MAX_FILE_BYTES). Leave it "
        "out, or raise the limit.",
    )


def too_deep(limit: int) -> Rejected:
    """Return the refusal for folders that are nested too deeply."""
    return Rejected(
        "FOLDER_TOO_DEEP",
        f"Found folders nested deeper than {limit} (PNEUMO_MAX_FOLDER_DEPTH). Nothing of this folder "
        "was accepted: put its files higher up, or raise the limit.",
    )


def _too_many(limit: int) -> Rejected:
    return Rejected(
        "TOO_MANY_FILES",
        f"Found more than {limit} files and folders in one folder that was handed over "
        "(PNEUMO_MAX_HANDOVER_FILES). Nothing of it was accepted: hand it over in parts, or raise "
        "the limit.",
    )


def _open_folder(top: Path, names: tuple[str, ...]) -> int:
    descriptor = os.open(top, _FOLDER)
    for name in names:
        try:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
