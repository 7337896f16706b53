"""How often a handed-over folder was tried, kept on the disk so that a killed worker's try counts."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from worker.settings import Settings

FOLDER = "handover-attempts"
"""Inside the intake folder and outside of `handed-over`, so that no bridge writes there."""


class AttemptCounter:
    """The attempts at one folder: a file with a byte for each that was begun and did not succeed."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._path = settings.intake_dir / FOLDER / name

    def begin(self) -> int:
        """Count an attempt before anything is opened; return its number, from 1. Raises OSError."""
        self._path.parent.mkdir(mode=0o750, exist_ok=True)
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640
        )
        try:
            os.write(descriptor, b".")
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def count(self) -> int:
        """Return the number of attempts so far."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def withdraw(self) -> None:
        """Do not count this attempt: an outage ended it, which says nothing about the folder."""
        with suppress(OSError):
            os.truncate(self._path, max(0, self.count() - 1))

    def forget(self) -> None:
        """Delete the counter: the folder is gone."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def names_with_attempts(settings: Settings) -> list[str]:
    """Return the names of the folders that were tried and are not finished."""
    folder: Path = settings.intake_dir / FOLDER
    with suppress(FileNotFoundError):
        return sorted(entry.name for entry in os.scandir(folder))
    return []
