"""A worker's heartbeat: a row for the operator, a file for the container's health check.

Each beat also checks whether the inference thread makes progress, and whether another model was
activated by `pneumo model activate`.
"""

from __future__ import annotations

import threading
from pathlib import Path

from db.engine.session import Database
from db.ledger.heartbeats import record_heartbeat
from worker.inference.model_holder import ModelHolder
from worker.logging import get_logger
from worker.messaging.dropped import DROPPED
from worker.pipeline.process_exit import exit_process
from worker.pipeline.worker_identity import WorkerIdentity

log = get_logger(__name__)

INTERVAL_S = 5.0
"""Between two beats; a worker that misses three counts as gone."""
STUCK_AFTER_S = 300.0
"""No batch on any device takes so long; a thread that does will not return."""


class Heartbeat:
    """One thread that beats until it is closed."""

    def __init__(
        self, database: Database, identity: WorkerIdentity, models: ModelHolder, alive_dir: Path
    ) -> None:
        self._database, self._identity, self._models = database, identity, models
        self._stop = threading.Event()
        self._file = alive_file(alive_dir, identity.name)
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating and remove the file."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self._exit_if_stuck()
                self._beat()
                self._models.follow()
            except Exception as error:  # noqa: BLE001  the thread must outlive any outage
                log.warning("heartbeat_failed", error_type=type(error).__qualname__)

    def _beat(self) -> None:
        model = self._models.current
        # The file first: this process is healthy even if the database is away.
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        with self._database.transaction() as session:
            record_heartbeat(
                session,
                worker_name=self._identity.name,
                lanes=self._identity.lanes,
                device=model.predictor.device_name,
                model_name=model.record.name,
                shadow=model.shadow.status() if model.shadow else None,
            )
            DROPPED.note(session)

    def _exit_if_stuck(self) -> None:
        if self._models.current.batcher.stuck_for() > STUCK_AFTER_S:
            exit_process("inference_stuck", seconds=STUCK_AFTER_S)


def alive_file(folder: Path, worker_name: str) -> Path:
    """Return the file that a running worker touches."""
    return folder / f"{worker_name}.alive"
