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
from db.ledger.conditions import conditions, end_condition, note_condition
from worker.errors import PneumoError
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.disk import CODES, Level, watch_of
from worker.storage.intake_folder import FOLDER_MISSING, INCOMING

log = get_logger(__name__)

DISK, FOLDER = "intake disk", "intake folder"
MET_BY_WRITERS = frozenset({"DISK_FULL", "DISK_ERROR", FOLDER_MISSING})
TOLD_EVERY_S = 60.0
"""A condition that goes on is counted so often, and not at each of the relay's turns."""
PROBE_BYTES = 16 * 1024 * 1024
"""A large radiograph: what it takes for senders to be told yes again."""


class DiskCondition:
    """The relay's view of the disk; `turn` once in each of its turns."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._site, self._database = settings, database
        self._told: Level | None = None
        self._told_at = self._probed_at = -math.inf

    def turn(self) -> None:
        """Note, count on or end what is wrong with the disk."""
        self._tell_level()
        if time.monotonic() - self._probed_at >= TOLD_EVERY_S:
            self._probed_at = time.monotonic()
            self._end_if_writable()

    def _tell_level(self) -> None:
        watch = watch_of(self._site)
        level, before = watch.level(), self._told
        again = level is not Level.ENOUGH and time.monotonic() - self._told_at >= TOLD_EVERY_S
        if level is before and not again:
            return
        with self._database.transaction() as session:
            if level is Level.ENOUGH:
                end_condition(session, DISK)
            else:
                note_condition(session, DISK, CODES[level], watch.sentence())
        self._told, self._told_at = level, time.monotonic()
        if level is not before:
            said = log.info if level is Level.ENOUGH else log.warning
            said("disk_room", room=level.name.lower(), free_bytes=watch.room.free)

    def _end_if_writable(self) -> None:
        with self._database.reading() as session:
            met = any(condition.subject == FOLDER for condition in conditions(session))
        if met and can_write(self._site):
            with self._database.transaction() as session:
                end_condition(session, FOLDER)
            log.info("intake_folder_writable")


def can_write(settings: Settings, *, makes_folder: bool = False) -> bool:
    """Whether a file of a radiograph's size goes onto the disk; it is gone again afterwards.

    `makes_folder`: an intake folder that is not there is made, if it may be
    (worker/storage/opening.py).
    """
    folder = settings.intake_dir / INCOMING
    probe = folder / f"{secrets.token_hex(16)}.part"
    try:
        if makes_folder:
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


def note_if_disk(error: PneumoError, database: Database) -> None:
    """Called where taking over failed: what the disk did is noted, at most once a minute."""
    if error.code not in MET_BY_WRITERS:
        return
    moment = time.monotonic()
    if moment - _noted_at.get(error.code, -math.inf) < TOLD_EVERY_S:
        return
    _noted_at[error.code] = moment
    # A database on the same full disk cannot take the note; the sender's refusal stands in the log.
    with suppress(SQLAlchemyError), database.transaction() as session:
        note_condition(session, FOLDER, error.code, error.sentence)
