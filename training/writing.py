"""Reports onto a disk that may be full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import Resource


@contextmanager
def told_as_resource(folder: Path) -> Iterator[None]:
    """Turn an OSError of writing into Resource("REPORT_NOT_WRITTEN")."""
    try:
        yield
    except OSError as error:
        raise Resource(
            "REPORT_NOT_WRITTEN",
            f"The report could not be written into the folder {folder.name}: {error.strerror}. "
            "Free some space, check its rights, or choose another --output.",
        ) from None
