"""From the file of peers to the rows that say where each result is sent.

Workers that predict need no file of peers: they find the destinations in SQL. Only the relay writes
them there: any other process that was started with another file, or with none, would switch results
off for the whole site.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from db.deliveries.destinations import (
    has_destinations,
    removed_with_pending_results,
    set_destinations,
)
from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from worker.errors import Rejected
from worker.logging import get_logger
from worker.peers.peers_file import Peers, read_peers
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)

SUBJECT = "file of peers"
OTHERS = "destinations out of the file"


def keep_destinations(settings: Settings, database: Database) -> Peers:
    """Send results to the destinations of the file from now on; return them.

    Raises Rejected PEERS_INVALID; then the destinations stay as they were, and `pneumo status` shows it.
    """
    try:
        destinations = read_peers(settings.peers).with_role("results")
    except Rejected as error:
        code, sentence = error.code, error.sentence
        in_transaction(database, lambda session: note_condition(session, SUBJECT, code, sentence))
        raise
    names = [peer.name for peer in destinations]

    def keep(session: Session) -> None:
        set_destinations(session, names, takes_rejected=settings.results_for_rejected)
        end_condition(session, SUBJECT)

    in_transaction(database, keep)
    return destinations


class DestinationsFile:
    """The file of peers, read again whenever it was changed."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._seen: object = None
        self._names: list[str] | None = None
        """Destinations in the file; None if there is none, or it is wrong."""
        self._reported: list[str] | None = None

    def follow(self) -> None:
        """Keep the destinations as the file has them; a wrong file is reported and changes nothing.

        SQL is compared with the file each time, and corrected if another process wrote there. Without
        PNEUMO_PEERS nothing is switched off; an empty file does that.
        """
        stamp = self._stamp()
        if stamp != self._seen:
            self._read()
            self._seen = stamp
        elif self._names is not None and not self._as_in_file(self._names):
            keep_destinations(self._settings, self._database)
            log.warning("destinations_set_right", names=self._names)
        self._report_others()

    def _read(self) -> None:
        self._names = None
        if self._settings.peers is None:
            return
        try:
            destinations = keep_destinations(self._settings, self._database)
        except Rejected as error:
            log.warning("peers_invalid", code=error.code)
        else:
            self._names = [peer.name for peer in destinations]
            log.info("destinations", names=self._names)

    def _as_in_file(self, names: list[str]) -> bool:
        with self._database.reading() as session:
            return has_destinations(
                session, names, takes_rejected=self._settings.results_for_rejected
            )

    def _report_others(self) -> None:
        """Report results that wait for a destination that the file does not name: none is sent."""
        if self._names is None and self._settings.peers is not None:
            return  # the file is wrong, which is reported already
        with self._database.reading() as session:
            others = removed_with_pending_results(session, self._names or [])
        if others == self._reported:
            return

        def write(session: Session) -> None:
            if others:
                note_condition(session, OTHERS, "DESTINATION_NOT_IN_FILE", _not_named(others))
            else:
                end_condition(session, OTHERS)

        in_transaction(self._database, write)
        self._reported = others

    def _stamp(self) -> object:
        path = self._settings.peers
        if path is None:
            return "no file"
        try:
            found = path.stat()
        except OSError as error:
            return type(error).__name__
        return found.st_mtime_ns, found.st_size


def _not_named(others: list[str]) -> str:
    return (
        f"Results wait for {', '.join(others)}, and the file that PNEUMO_PEERS names for the relay has "
        "no such destination. Put it back, start the relay with the right file, or cancel the results: "
        "`pneumo deliveries --forgo --destination NAME`."
    )
