"""Write files that are complete or absent, on a disk that may be full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.errors import Resource

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def complete_or_absent(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; it gets the name `path` once the block has succeeded.

    What a block that failed has written is removed. `shared`: other processes may write the same
    file at the same time, so that each needs a temporary path of its own.
    """
    part = path.with_suffix(f".{os.getpid()}.part" if shared else ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def os_errors_as(
    code: str, what: str, folder: Path, *, when_full: str | None = None
) -> Iterator[None]:
    """Turn an OSError of writing `what` ("The report") into `folder` into Resource(code).

    `when_full`: the code where the disk is full, if it has one of its own.
    """
    try:
        yield
    except OSError as error:
        raise Resource(
            when_full if when_full and error.errno in _NO_SPACE else code,
            f"{what} could not be written into the folder {folder.name}: {error.strerror}. Free "
            "some space, check the folder's rights, or choose another folder.",
        ) from None
