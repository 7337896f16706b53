"""The disk that this process retrieves to: while it is full, ordered studies wait.

Another node may have room, and then takes the studies that this one postponed. The condition has one row
for all nodes: the process that meets a full disk notes it, and ends it once there is room again. `intake
disk`, the relay's own, may be another disk altogether.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.session import Database
from db.ledger.conditions import active_conditions, end_condition
from worker.archive.circuit_breaker import RecordedCircuitBreaker
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
"""Codes of a disk that nothing can be written to; the site's fault, and no study's."""
STALE_S = 300.0
"""The condition is noted every minute; one not noted for so long is of a process that is gone."""


class RetrieveDisk:
    """The state of this process's disk; call `run_once` once a minute."""

    def __init__(
        self, settings: Settings, database: Database, breaker: RecordedCircuitBreaker
    ) -> None:
        self._settings, self._database, self._breaker = settings, database, breaker
        self._is_full = False
        """Whether a retrieval of this process found no room, and none has succeeded since."""

    def refuse_when_full(self) -> None:
        """Raise Unavailable (DISK_NEARLY_FULL, or the latest failure to write) before a retrieval."""
        self._breaker.refuse_when_open(SUBJECT)
        try:
            refuse_when_nearly_full(self._settings)
        except Resource as error:
            raise self.away(error) from None

    def away(self, error: Resource) -> Unavailable:
        """Turn a failure to write into an error that waits for the disk."""
        self._is_full = True
        nearly = error.code == DISK_NEARLY_FULL
        what = disk_monitor_of(self._settings).sentence() if nearly else error.sentence
        if error.code == FOLDER_MISSING:
            what += (
                " If this worker fetches to a disk of its own, which it does not share with the "
                "listener, PNEUMO_OWN_DISK=true lets it make its folder."
            )
        sentence = f"{what} Studies to be fetched to this disk wait and are fetched automatically."
        return Unavailable(error.code, sentence, subject=SUBJECT)

    def record_room(self) -> None:
        """End the condition after a file of a radiograph's size could be written."""
        if not self._is_full:
            return
        self._is_full = False
        self._breaker.record_success(SUBJECT)
        log.info("fetching_disk_has_room")

    def run_once(self) -> None:
        """Note the condition while there is no room; end it when there is, or when it is stale."""
        if not self._is_full:
            in_transaction(self._database, _end_if_stale)
            return
        try:
            refuse_when_nearly_full(self._settings)
        except Resource as error:
            self._breaker.note(self.away(error))
        else:
            may_make = may_create_retrieve_folder(self._settings, self._database)
            if can_write(self._settings, may_create_folder=may_make):
                self.record_room()


def _end_if_stale(session: Session) -> None:
    oldest = now(session) - timedelta(seconds=STALE_S)
    if any(it.subject == SUBJECT and it.seen_at < oldest for it in active_conditions(session)):
        end_condition(session, SUBJECT)
