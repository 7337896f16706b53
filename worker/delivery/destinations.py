"""From the file of peers to the rows by which every finished study knows to whom it owes its result.

Workers that predict need no file of peers: whoever stores a verdict finds the destinations in SQL.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from db.conditions import end_condition, note_condition
from db.destinations import set_destinations
from db.session import Database
from worker.errors import Rejected
from worker.logging import get_logger
from worker.patience import in_transaction
from worker.peers import Peers, read_peers
from worker.settings import Settings

log = get_logger(__name__)

SUBJECT = "file of peers"


def keep_destinations(site: Settings, database: Database) -> Peers:
    """Owe results to the destinations of the file from now on; those of the file.

    Raises Rejected PEERS_INVALID; then the destinations stay as they were, and `pneumo status` says so.
    """
    try:
        destinations = read_peers(site.peers).that("results")
    except Rejected as error:
        code, sentence = error.code, error.sentence
        in_transaction(database, lambda session: note_condition(session, SUBJECT, code, sentence))
        raise
    names = [peer.name for peer in destinations]

    def keep(session: Session) -> None:
        set_destinations(session, names, takes_rejected=site.results_for_rejected)
        end_condition(session, SUBJECT)

    in_transaction(database, keep)
    return destinations


class DestinationsFile:
    """The file of peers, looked at again whenever it was changed."""

    def __init__(self, site: Settings, database: Database) -> None:
        self._site = site
        self._database = database
        self._seen: object = None

    def follow(self) -> None:
        """Keep the destinations as the file has them; a wrong file is told, and changes nothing."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            destinations = keep_destinations(self._site, self._database)
        except Rejected as error:
            log.warning("peers_invalid", code=error.code)
        else:
            log.info("destinations", names=[peer.name for peer in destinations])
        self._seen = stamp

    def _stamp(self) -> object:
        path = self._site.peers
        if path is None:
            return "no file"
        try:
            found = path.stat()
        except OSError as error:
            return type(error).__name__
        return found.st_mtime_ns, found.st_size
