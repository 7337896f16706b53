"""The relay gives each study's identity its pseudonyms, so that no other process needs the key."""

from __future__ import annotations

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from db.ledger.pseudonyms import BATCH, SiteKey, fill_pseudonyms
from worker.errors import PneumoError
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.site_key import read_site_key

log = get_logger(__name__)
SUBJECT = "identity key"


class Pseudonymiser:
    """Call `run_once` in each pass of the relay; the key is read once, when it is needed first."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._key: SiteKey | None = None

    def run_once(self) -> bool:
        """Fill in one batch; return True if there may be more. A key that is unusable is a condition."""
        try:
            key = self._key or read_site_key(self._settings)
        except PneumoError as error:
            with self._database.transaction() as session:
                note_condition(session, SUBJECT, error.code, error.sentence)
            return False
        with self._database.transaction() as session:
            if self._key is None:
                end_condition(session, SUBJECT)
            filled = fill_pseudonyms(session, key)
        self._key = key
        if filled:
            log.info("pseudonyms_filled", studies=filled)
        return filled == BATCH
