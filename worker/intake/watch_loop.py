"""`pneumo watch`: scan the watched folder until stopped; wait out outages."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from worker.errors import PneumoError, Rejected
from worker.intake.watched_folder import FILE_FAILED, WatchedFolder
from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

INTERVAL_S = 1.0
SUBJECT = "watched folder"
"""Of the condition that `pneumo status` shows."""


def run(settings: Settings, folder: Path | None = None) -> None:
    """Watch until SIGTERM or SIGINT. Raises Rejected WATCH_FOLDER_UNSET."""
    watched = folder or settings.watch_folder
    if watched is None:
        raise Rejected(
            "WATCH_FOLDER_UNSET", "No folder to watch. Name one, or set PNEUMO_WATCH_FOLDER."
        )
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    database = Database(settings.database_url)
    watcher = WatchedFolder(folder=watched, settings=settings, database=database)
    notice, alive = WatchCondition(database), alive_file(settings)
    log.info("watch_started")
    while not stop.is_set():
        notice.update(_run_once(watcher))
        alive.parent.mkdir(parents=True, exist_ok=True)
        alive.touch()
        stop.wait(min(INTERVAL_S, settings.watch_settle_s))
    database.dispose()
    log.info("watch_stopped")


def alive_file(settings: Settings) -> Path:
    """Return the file that a living watcher touches in each pass."""
    return settings.alive_dir / "watch.alive"


def _run_once(watcher: WatchedFolder) -> tuple[str, str] | None:
    """Scan once; return what is wrong (code, sentence), and the next scan tries again."""
    try:
        scan = watcher.run_once()
    except PneumoError as error:
        log.warning("watch_turn_failed", code=error.code, kind=error.kind.value)
        return error.code, error.sentence
    except Exception as error:  # noqa: BLE001  one bad scan must not end the watch
        log.warning("watch_turn_failed", error_type=type(error).__qualname__)
        return None
    if scan.taken_over or scan.refused:
        log.info("watch_turn", taken_over=scan.taken_over, refused=scan.refused)
    if scan.failed:
        return _failed(scan.failed)
    return _cannot_leave(scan.cannot_leave) if scan.cannot_leave else None


def _failed(count: int) -> tuple[str, str]:
    sentence = (
        f"{count} file(s) of the watched folder cannot be accepted, for a reason that nobody "
        "foresaw; the log has it under traceback_kept. They are tried again each minute, a few "
        "times, and then refused; the others are accepted meanwhile. Report it, or move them out "
        "of the folder."
    )
    return FILE_FAILED, sentence


def _cannot_leave(count: int) -> tuple[str, str]:
    sentence = (
        f"{count} file(s) were accepted or refused and cannot be removed from the watched folder. "
        "Let this user write to it; nothing is lost, and they are tried again after a restart."
    )
    return "WATCH_FOLDER_READ_ONLY", sentence


class WatchCondition:
    """The folder's condition in `pneumo status`; written when it changes, not every second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: tuple[str, str] | None = ("", "")
        """Unknown yet: what an earlier process wrote may be out of date."""

    def update(self, wrong: tuple[str, str] | None) -> None:
        """Record it, unless it is unchanged; if the database is away, the next call records it."""
        if wrong == self._noted:
            return
        with suppress(SQLAlchemyError), self._database.transaction() as session:
            if wrong is None:
                end_condition(session, SUBJECT)
            else:
                note_condition(session, SUBJECT, *wrong)
            self._noted = wrong
