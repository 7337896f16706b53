"""The disk levels: enough room, low (the operator is warned), nearly full (nothing more is accepted).

A disk that is nearly full refuses new studies while it still has room to finish those that are here:
their results, the database and the logs need some too. Nothing is deleted to make room; files are
removed by the retention rule alone (worker/maintenance/retention.py). A level ends only a little above
the limit where it began, so that a disk that hovers there does not switch every second.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from worker.errors import Resource
from worker.settings import Settings

DISK_LOW, DISK_NEARLY_FULL = "DISK_LOW", "DISK_NEARLY_FULL"
CHECK_INTERVAL_S = 1.0
"""A burst of associations queries the file system once a second."""
WRITER_CHECK_INTERVAL_S = 0.1
"""A writer queries it oftener: one sender alone writes 200 MB in a second."""
WRITERS_SHARE = 0.5
"""Of the reserve (PNEUMO_DISK_REFUSE_FREE), what files that were begun before may use."""
HYSTERESIS = 1.1
"""A level ends when this many times as much is free as where it begins."""


class DiskLevel(IntEnum):
    """How much room a disk has."""

    ENOUGH = 0
    """Nothing needs to be done."""
    LOW = 1
    """Less than PNEUMO_DISK_WARN_FREE: the operator is warned."""
    NEARLY_FULL = 2
    """Less than PNEUMO_DISK_REFUSE_FREE: no new study is accepted."""


CODE_OF_LEVEL = {DiskLevel.LOW: DISK_LOW, DiskLevel.NEARLY_FULL: DISK_NEARLY_FULL}


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """The size of a file system, in bytes."""

    free: int
    """Available to this user."""
    total: int

    def __str__(self) -> str:
        return f"{format_bytes(self.free)} of {format_bytes(self.total)} are free"


@dataclass(frozen=True, kw_only=True)
class DiskThresholds:
    """The limits where the levels begin: a share of the disk ("5%") or bytes ("2GB")."""

    warn: str
    refuse: str

    def level_for(self, room: DiskSpace, before: DiskLevel) -> DiskLevel:
        """Return the level that follows `before` with this much room."""
        for level, limit in ((DiskLevel.NEARLY_FULL, self.refuse), (DiskLevel.LOW, self.warn)):
            begins = bytes_of(limit, room.total)
            ends = begins * (HYSTERESIS if before >= level else 1)
            if room.free < ends:
                return level
        return DiskLevel.ENOUGH


class DiskMonitor:
    """The level of one folder's file system, queried at most once a second. Safe for threads."""

    def __init__(self, folder: Path, thresholds: DiskThresholds) -> None:
        self._folder, self._thresholds = folder, thresholds
        self._lock = threading.Lock()
        self._level = DiskLevel.ENOUGH
        self.room = DiskSpace(free=0, total=0)
        """The room by which the level was decided."""
        self._queried_at: float | None = None
        self._writers_checked_at, self._is_exhausted = -math.inf, False

    def level(self) -> DiskLevel:
        """Return the level as it was within the last second."""
        with self._lock:
            moment = time.monotonic()
            if self._queried_at is None or moment - self._queried_at >= CHECK_INTERVAL_S:
                self._queried_at = moment
                self._update()
            return self._level

    def is_exhausted(self) -> bool:
        """Return whether files that were begun have used up their part of the reserve."""
        with self._lock:
            moment = time.monotonic()
            if moment < self._writers_checked_at + WRITER_CHECK_INTERVAL_S:
                return self._is_exhausted
            self._writers_checked_at = moment
            with suppress(OSError):  # the disk is away: the writer reports DISK_ERROR
                room = disk_space_of(self._folder)
                reserve = bytes_of(self._thresholds.refuse, room.total)
                self._is_exhausted = room.free < reserve * (1 - WRITERS_SHARE)
            return self._is_exhausted

    def sentence(self) -> str:
        """Return what is wrong and what to do, with figures, for the operator."""
        if self._level is DiskLevel.NEARLY_FULL:
            return (
                f"{self.room} on the disk of the intake folder, less than {self._thresholds.refuse} "
                "(PNEUMO_DISK_REFUSE_FREE): no new studies are accepted, those that are here are "
                "finished. Make room; studies are then accepted again without a restart."
            )
        return (
            f"{self.room} on the disk of the intake folder, less than {self._thresholds.warn} "
            f"(PNEUMO_DISK_WARN_FREE); below {self._thresholds.refuse} no new studies are accepted. "
            "Make room, or remove the files of finished studies sooner (PNEUMO_KEEP_FILES_DAYS)."
        )

    def _update(self) -> None:
        try:
            self.room = disk_space_of(self._folder)
        except OSError:  # the disk is away: a writer reports DISK_ERROR with the reason
            return
        self._level = self._thresholds.level_for(self.room, self._level)


def disk_monitor_of(settings: Settings) -> DiskMonitor:
    """Return this process's one monitor of the site's intake folder."""
    return _monitor(settings.intake_dir, settings.disk_warn_free, settings.disk_refuse_free)


@cache
def _monitor(folder: Path, warn: str, refuse: str) -> DiskMonitor:
    return DiskMonitor(folder, DiskThresholds(warn=warn, refuse=refuse))


def refuse_when_nearly_full(settings: Settings) -> None:
    """Raise Resource DISK_NEARLY_FULL if nothing more may be accepted."""
    monitor = disk_monitor_of(settings)
    if monitor.level() is DiskLevel.NEARLY_FULL:
        raise Resource(
            DISK_NEARLY_FULL,
            f"{monitor.sentence()} Nothing of this was accepted: files in a folder are accepted as "
            "soon as there is room, anything else must be sent again.",
        )


def refuse_when_writing_exhausts(settings: Settings) -> None:
    """Raise Resource DISK_NEARLY_FULL if a file that is being written must not grow any more.

    Files that were begun may use half of the reserve, so that ordinary ones are finished.
    """
    if disk_monitor_of(settings).is_exhausted():
        raise Resource(
            DISK_NEARLY_FULL,
            "The disk of the intake folder became nearly full while this file was written "
            "(PNEUMO_DISK_REFUSE_FREE), so nothing of it was accepted. Make room and send it again.",
        )


def disk_space_of(folder: Path) -> DiskSpace:
    """Return the room on the disk of a folder that may not exist yet. Raises OSError."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return DiskSpace(free=usage.free, total=usage.total)


_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(limit: str, total: int) -> float:
    """Return "5%" of `total`, or "2GB", in bytes."""
    if limit.endswith("%"):
        return float(limit[:-1]) / 100 * total
    return float(limit[:-2]) * _UNITS[limit[-2:]]


def format_bytes(size: int) -> str:
    """Return 1_900_000_000 as "1.9 GB"."""
    unit, scale = next(
        ((unit, scale) for unit, scale in reversed(_UNITS.items()) if size >= scale), ("MB", 10**6)
    )
    return f"{size / scale:.3g} {unit}"
