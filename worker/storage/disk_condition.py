"""The conditions of the disk that `pneumo status` shows, kept in SQL by the relay.

There are two subjects, since two things can be wrong. `intake disk`: too little is free (disk.py).
`intake folder`: a writer failed, because of a quota, a read-only mount or a broken disk. The writer
records the condition; the relay ends it once a file can be written again.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database
from db.ledger.conditions import active_conditions, end_condition, note_condition
from worker.errors import PneumoError
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.disk import CODE_OF_LEVEL, DiskLevel, disk_monitor_of
from worker.storage.intake_folder import FOLDER_MISSING, INCOMING

log = get_logger(__name__)

DISK, FOLDER = "intake disk", "intake folder"
WRITE_FAILURE_CODES = frozenset({"DISK_FULL", "DISK_ERROR", FOLDER_MISSING})
NOTE_INTERVAL_S = 60.0
"""A condition that persists is counted at this interval, not in each pass of the relay."""
PROBE_BYTES = 16 * 1024 * 1024
"""The size of a large radiograph: as much must be writable before senders are accepted again."""


class DiskCondition:
    """The relay's view of the disk; the relay calls `run_once` in each of its passes."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._noted: DiskLevel | None = None
        self._noted_at = self._probed_at = -math.inf

    def run_once(self) -> None:
        """Record, count or end what is wrong with the disk."""
        self._note_level()
        if time.monotonic() - self._probed_at >= NOTE_INTERVAL_S:
            self._probed_at = time.monotonic()
            self._end_if_writable()

    def _note_level(self) -> None:
        monitor = disk_monitor_of(self._settings)
        level, before = monitor.level(), self._noted
        again = (
            level is not DiskLevel.ENOUGH and time.monotonic() - self._noted_at >= NOTE_INTERVAL_S
        )
        if level is before and not again:
            return
        with self._database.transaction() as session:
            if level is DiskLevel.ENOUGH:
                end_condition(session, DISK)
            else:
                note_condition(session, DISK, CODE_OF_LEVEL[level], monitor.sentence())
        self._noted, self._noted_at = level, time.monotonic()
        if level is not before:
            write = log.info if level is DiskLevel.ENOUGH else log.warning
            write("disk_room", room=level.name.lower(), free_bytes=monitor.room.free)

    def _end_if_writable(self) -> None:
        with self._database.reading() as session:
            met = any(condition.subject == FOLDER for condition in active_conditions(session))
        if met and can_write(self._settings):
            with self._database.transaction() as session:
                end_condition(session, FOLDER)
            log.info("intake_folder_writable")


def can_write(settings: Settings, *, may_create_folder: bool = False) -> bool:
    """Return whether a file of a radiograph's size can be written; the file is removed again.

    `may_create_folder`: create an intake folder that does not exist, if that is allowed
    (worker/storage/storage_factory.py).
    """
    folder = settings.intake_dir / INCOMING
    probe = folder / f"{secrets.token_hex(16)}.part"
    try:
        if may_create_folder:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with probe.open("xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


_noted_at: dict[str, float] = {}


def note_disk_failure(error: PneumoError, database: Database) -> None:
    """Record a failure of the disk as a condition, at most once a minute; ignore other errors."""
    if error.code not in WRITE_FAILURE_CODES:
        return
    moment = time.monotonic()
    if moment - _noted_at.get(error.code, -math.inf) < NOTE_INTERVAL_S:
        return
    _noted_at[error.code] = moment
    # A database on the same full disk cannot store the condition; the refusal is in the log.
    with suppress(SQLAlchemyError), database.transaction() as session:
        note_condition(session, FOLDER, error.code, error.sentence)
