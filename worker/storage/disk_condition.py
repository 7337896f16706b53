"""What an operator is told about the disk: a condition in SQL, kept by the relay.

Two subjects, since two things can be wrong. `intake disk` is the ladder's: too little is free. `intake
folder` is what a writer met: no space although the file system claims some (a quota), a read-only
mount, a broken disk. Whoever met it notes it; the relay ends it once a file can be written again.
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
"""A condition that goes on is counted so often, and not at each of the relay's turns."""
PROBE_BYTES = 16 * 1024 * 1024
"""A large radiograph: what it takes for senders to be told yes again."""


class DiskCondition:
    """The relay's view of the disk; `turn` once in each of its turns."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._told: DiskLevel | None = None
        self._told_at = self._probed_at = -math.inf

    def run_once(self) -> None:
        """Note, count on or end what is wrong with the disk."""
        self._note_level()
        if time.monotonic() - self._probed_at >= NOTE_INTERVAL_S:
            self._probed_at = time.monotonic()
            self._end_if_writable()

    def _note_level(self) -> None:
        watch = disk_monitor_of(self._settings)
        level, before = watch.level(), self._told
        again = (
            level is not DiskLevel.ENOUGH and time.monotonic() - self._told_at >= NOTE_INTERVAL_S
        )
        if level is before and not again:
            return
        with self._database.transaction() as session:
            if level is DiskLevel.ENOUGH:
                end_condition(session, DISK)
            else:
                note_condition(session, DISK, CODE_OF_LEVEL[level], watch.sentence())
        self._told, self._told_at = level, time.monotonic()
        if level is not before:
            said = log.info if level is DiskLevel.ENOUGH else log.warning
            said("disk_room", room=level.name.lower(), free_bytes=watch.room.free)

    def _end_if_writable(self) -> None:
        with self._database.reading() as session:
            met = any(condition.subject == FOLDER for condition in active_conditions(session))
        if met and can_write(self._settings):
            with self._database.transaction() as session:
                end_condition(session, FOLDER)
            log.info("intake_folder_writable")


def can_write(settings: Settings, *, may_create_folder: bool = False) -> bool:
    """Whether a file of a radiograph's size goes onto the disk; it is gone again afterwards.

    `may_create_folder`: an intake folder that is not there is made, if it may be
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
    """Called where taking over failed: what the disk did is noted, at most once a minute."""
    if error.code not in WRITE_FAILURE_CODES:
        return
    moment = time.monotonic()
    if moment - _noted_at.get(error.code, -math.inf) < NOTE_INTERVAL_S:
        return
    _noted_at[error.code] = moment
    # A database on the same full disk cannot take the note; the sender's refusal stands in the log.
    with suppress(SQLAlchemyError), database.transaction() as session:
        note_condition(session, FOLDER, error.code, error.sentence)
