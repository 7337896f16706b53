"""The disk that this process fetches to: without room there, what is ordered waits.

Another node may have room, and so takes what this one put back. The condition has one row for all of
them: whoever meets a full disk tells it, and ends it once there is room again. `intake disk`, the
relay's own, may be another disk altogether.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.session import Database
from db.ledger.conditions import active_conditions, end_condition, note_condition
from worker.archive.circuit_breaker import CircuitBreaker
from worker.errors import Resource, Unavailable
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.disk import DISK_NEARLY_FULL, disk_monitor_of, refuse_when_nearly_full
from worker.storage.disk_condition import WRITE_FAILURE_CODES, can_write
from worker.storage.intake_folder import FOLDER_MISSING
from worker.storage.storage_factory import may_create_retrieve_folder
from worker.transactions import in_transaction

log = get_logger(__name__)

SUBJECT = "fetching disk"
NO_ROOM_CODES = WRITE_FAILURE_CODES | {DISK_NEARLY_FULL}
"""Codes that say that nothing can be taken over; the site's fault, and no study's."""
STALE_S = 300.0
"""It is told every minute while it goes on; one not told for so long is of a process that is gone."""


class RetrieveDisk:
    """What this process knows of its disk; `turn` once a minute."""

    def __init__(self, settings: Settings, database: Database, pauses: CircuitBreaker) -> None:
        self._settings, self._database, self._breaker = settings, database, pauses
        self._met = False
        """Whether a fetch of this process found no room, and none has since."""

    def refuse_when_full(self) -> None:
        """Raise Away (DISK_NEARLY_FULL, or what a writer met a moment ago) before a fetch."""
        self._breaker.refuse_when_open(SUBJECT)
        try:
            refuse_when_nearly_full(self._settings)
        except Resource as error:
            raise self.away(error) from None

    def away(self, error: Resource) -> Unavailable:
        """What a writer met, as something to be waited for."""
        self._met = True
        nearly = error.code == DISK_NEARLY_FULL
        what = disk_monitor_of(self._settings).sentence() if nearly else error.sentence
        if error.code == FOLDER_MISSING:
            what += (
                " If this worker fetches to a disk of its own, which it does not share with the "
                "listener, PNEUMO_OWN_DISK=true lets it make its folder."
            )
        sentence = f"{what} What is to be fetched to this disk waits and comes by itself."
        return Unavailable(error.code, sentence, subject=SUBJECT)

    def record_room(self) -> None:
        """A file of a radiograph's size could be written."""
        if not self._met:
            return
        self._met = False
        self._breaker.record_success(SUBJECT)
        in_transaction(self._database, lambda session: end_condition(session, SUBJECT))
        log.info("fetching_disk_has_room")

    def run_once(self) -> None:
        """End the condition if there is room again, or nobody tells it any more; else tell it."""
        if not self._met:
            in_transaction(self._database, _end_if_stale)
            return
        try:
            refuse_when_nearly_full(self._settings)
        except Resource as error:
            told = self.away(error)
            in_transaction(
                self._database,
                lambda session: note_condition(session, SUBJECT, told.code, told.sentence),
            )
        else:
            may_make = may_create_retrieve_folder(self._settings, self._database)
            if can_write(self._settings, may_create_folder=may_make):
                self.record_room()


def _end_if_stale(session: Session) -> None:
    oldest = now(session) - timedelta(seconds=STALE_S)
    if any(it.subject == SUBJECT and it.seen_at < oldest for it in active_conditions(session)):
        end_condition(session, SUBJECT)
