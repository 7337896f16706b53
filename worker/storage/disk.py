"""The disk ladder: enough room, low (somebody is told), nearly full (nothing more is taken over).

What is nearly full refuses new studies while it still has room to finish those that are here: their
results, the database and the logs need some too. Nothing is deleted to make room; what leaves, leaves
by the retention rule alone (worker/maintenance/retention.py). Each level ends only a little above where it
began, so that a disk that hovers there does not open and shut its door every second.
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from worker.errors import Resource
from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

DISK_LOW, DISK_NEARLY_FULL = "DISK_LOW", "DISK_NEARLY_FULL"
CHECK_INTERVAL_S = 1.0
"""A burst of associations asks the file system once; in a second 25 senders bring 1 GB at most."""
HYSTERESIS = 1.1
"""A level ends when this many times as much is free as where it begins."""

NOT_STORAGE = frozenset({"1.2.840.10008.1.1", "1.2.840.10008.1.20.1"})
"""Verification and Storage Commitment Push Model need no room; anything else may store."""
TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED = 0x02, 0x03, 0x02
"""Result, source and reason of an A-ASSOCIATE-RJ that asks to come back (PS3.8 9.3.4)."""


class DiskLevel(IntEnum):
    """How much room there is."""

    ENOUGH = 0
    """All is well."""
    LOW = 1
    """Less than PNEUMO_DISK_WARN_FREE: an operator is told."""
    NEARLY_FULL = 2
    """Less than PNEUMO_DISK_REFUSE_FREE: no new study is taken over."""


CODE_OF_LEVEL = {DiskLevel.LOW: DISK_LOW, DiskLevel.NEARLY_FULL: DISK_NEARLY_FULL}


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """What a file system has, in bytes."""

    free: int
    """Left for this user."""
    total: int

    def __str__(self) -> str:
        return f"{format_bytes(self.free)} of {format_bytes(self.total)} are free"


@dataclass(frozen=True, kw_only=True)
class DiskThresholds:
    """Where the levels begin, as a site set them: a share of the disk ("5%") or bytes ("2GB")."""

    warn: str
    refuse: str

    def level_for(self, room: DiskSpace, before: DiskLevel) -> DiskLevel:
        """The level that holds now, after `before`."""
        for level, limit in ((DiskLevel.NEARLY_FULL, self.refuse), (DiskLevel.LOW, self.warn)):
            begins = bytes_of(limit, room.total)
            ends = begins * (HYSTERESIS if before >= level else 1)
            if room.free < ends:
                return level
        return DiskLevel.ENOUGH


class DiskMonitor:
    """The level of one folder's file system, asked at most once a second. For any thread."""

    def __init__(self, folder: Path, ladder: DiskThresholds) -> None:
        self._folder, self._thresholds = folder, ladder
        self._lock = threading.Lock()
        self._level = DiskLevel.ENOUGH
        self.room = DiskSpace(free=0, total=0)
        """As it was when the level was judged."""
        self._asked_at: float | None = None

    def level(self) -> DiskLevel:
        """As it was within the last second."""
        with self._lock:
            moment = time.monotonic()
            if self._asked_at is None or moment - self._asked_at >= CHECK_INTERVAL_S:
                self._asked_at = moment
                self._judge()
            return self._level

    def sentence(self) -> str:
        """What holds and what to do, with figures; for an operator."""
        if self._level is DiskLevel.NEARLY_FULL:
            return (
                f"{self.room} on the disk of the intake folder, less than {self._thresholds.refuse} "
                "(PNEUMO_DISK_REFUSE_FREE): no new studies are taken over, those that are here are "
                "worked off. Make room; taking over begins again by itself."
            )
        return (
            f"{self.room} on the disk of the intake folder, less than {self._thresholds.warn} "
            f"(PNEUMO_DISK_WARN_FREE); below {self._thresholds.refuse} no new studies are taken over. "
            "Make room, or let the files of finished studies leave sooner (PNEUMO_KEEP_FILES_DAYS)."
        )

    def _judge(self) -> None:
        try:
            self.room = disk_space_of(self._folder)
        except OSError:  # a disk that is away: whoever writes says DISK_ERROR, with its reason
            return
        self._level = self._thresholds.level_for(self.room, self._level)


def disk_monitor_of(settings: Settings) -> DiskMonitor:
    """This process's one watch on the site's intake folder."""
    return _watch(settings.intake_dir, settings.disk_warn_free, settings.disk_refuse_free)


@cache
def _watch(folder: Path, warn: str, refuse: str) -> DiskMonitor:
    return DiskMonitor(folder, DiskThresholds(warn=warn, refuse=refuse))


def refuse_when_nearly_full(settings: Settings) -> None:
    """Called before anything is taken over. Raises Resource DISK_NEARLY_FULL."""
    watch = disk_monitor_of(settings)
    if watch.level() is DiskLevel.NEARLY_FULL:
        raise Resource(
            DISK_NEARLY_FULL,
            f"{watch.sentence()} Nothing of this was taken over: what waits in a folder is then, "
            "anything else must be sent again.",
        )


def reject_association_when_nearly_full(event: Any, settings: Settings) -> None:
    """Reject an association that may store. `event`: pynetdicom's EVT_REQUESTED.

    C-ECHO stays possible: a listener whose disk is full is not dead, and health checks ask it.
    """
    if event.assoc.is_rejected or not _may_store(event.assoc.requestor.primitive):
        return
    if disk_monitor_of(settings).level() is DiskLevel.NEARLY_FULL:
        log.warning("association_rejected", reason=DISK_NEARLY_FULL)
        event.assoc.acse.send_reject(TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED)
        event.assoc.kill()  # once the answer is sent, as pynetdicom does for its own rejections


def _may_store(asked: Any) -> bool:
    contexts = asked.presentation_context_definition_list
    return any(context.abstract_syntax not in NOT_STORAGE for context in contexts)


def disk_space_of(folder: Path) -> DiskSpace:
    """Room on the disk of a folder, or of where it will be made. Raises OSError."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return DiskSpace(free=usage.free, total=usage.total)


_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(limit: str, total: int) -> float:
    """ "5%" of `total`, or "2GB", in bytes."""
    if limit.endswith("%"):
        return float(limit[:-1]) / 100 * total
    return float(limit[:-2]) * _UNITS[limit[-2:]]


def format_bytes(size: int) -> str:
    """1_900_000_000 as "1.9 GB"."""
    unit, scale = next(
        ((unit, scale) for unit, scale in reversed(_UNITS.items()) if size >= scale), ("MB", 10**6)
    )
    return f"{size / scale:.3g} {unit}"
