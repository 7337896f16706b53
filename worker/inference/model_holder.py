"""The loaded model of a worker process, replaced when another one is activated."""

from __future__ import annotations

import threading
import time

from db.engine.session import Database
from db.ledger.model_registry import active_model, shadow_model
from worker.errors import PneumoError
from worker.inference.active_model import ActiveModel, load_active_model
from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

SWAP_RETRY_INTERVAL_S = 60.0
"""Between two attempts to load an active model that this worker cannot load."""


class ModelHolder:
    """Holds the loaded model; a caller reads `current` once and uses that to the end of its work."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._swap_not_before = 0.0
        self.current: ActiveModel = load_active_model(database, settings)

    def follow(self) -> None:
        """Load a newly selected model or shadow; frames already queued finish on the old one."""
        with self._database.reading() as session:
            record = active_model(session)
            shadow = shadow_model(session) if self._settings.shadow else None
        now = (self.current.record.name, self.current.selected_shadow)
        if record is None or (record.name, shadow.name if shadow else None) == now:
            return
        if time.monotonic() < self._swap_not_before:
            return
        try:
            before, self.current = self.current, load_active_model(self._database, self._settings)
        except PneumoError as error:
            self._swap_not_before = time.monotonic() + SWAP_RETRY_INTERVAL_S
            log.warning(
                "model_not_swapped", model=record.name, code=error.code, sentence=error.sentence
            )
            return
        log.info("model_swapped", before=before.record.name, after=record.name)
        # In its own thread: an old batch that hangs must not stop the caller.
        threading.Thread(target=before.close, kwargs={"finish": True}, daemon=True).start()

    def close(self) -> None:
        """End the current model's threads."""
        self.current.close()
