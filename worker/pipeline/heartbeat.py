"""A worker's sign of life: a row for the operator, a file for the container's health check.

The beat also looks after what nobody else sees: an inference thread that stopped making progress,
and an active model that was changed by `pneumo model activate`.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from db.ledger.heartbeats import beat
from db.ledger.model_registry import active_model, shadow_model
from worker.errors import PneumoError
from worker.inference.active_model import load_active_model
from worker.logging import get_logger
from worker.pipeline.process_exit import leave

if TYPE_CHECKING:
    from worker.pipeline.runtime import Runtime

log = get_logger(__name__)

INTERVAL_S = 5.0
"""Between two beats; a worker not seen for three of them counts as gone."""
STUCK_AFTER_S = 300.0
"""No batch on any device takes so long; a thread that does will not come back."""
SWAP_AGAIN_AFTER_S = 60.0
"""Between two tries to load an active model that this worker cannot load."""


class Heartbeat:
    """One thread that beats until it is closed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        self._swap_not_before = 0.0
        self._file = alive_file(runtime.settings.alive_dir, runtime.identity.name)
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating and take the file away."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self._leave_if_stuck()
                self._beat()
                self._follow_active_model()
            except Exception as error:  # noqa: BLE001  the thread must outlive any outage
                log.warning("heartbeat_failed", error_type=type(error).__qualname__)

    def _beat(self) -> None:
        runtime = self._runtime
        # The file first: a database that is away says nothing about this process.
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        with runtime.database.transaction() as session:
            beat(
                session,
                worker_name=runtime.identity.name,
                lanes=runtime.identity.lanes,
                device=runtime.model.predictor.device_name,
                model_name=runtime.model.record.name,
                shadow=runtime.model.shadow.status() if runtime.model.shadow else None,
            )

    def _leave_if_stuck(self) -> None:
        if self._runtime.model.batcher.stuck_for() > STUCK_AFTER_S:
            leave("inference_stuck", seconds=STUCK_AFTER_S)

    def _follow_active_model(self) -> None:
        """Swap to a newly selected model or shadow; frames already queued finish on the old one."""
        runtime = self._runtime
        with runtime.database.reading() as session:
            record = active_model(session)
            shadow = shadow_model(session) if runtime.settings.shadow else None
        now = (runtime.model.record.name, runtime.model.shadow_wanted)
        if record is None or (record.name, shadow.name if shadow else None) == now:
            return
        if time.monotonic() < self._swap_not_before:
            return
        try:
            before, runtime.model = (
                runtime.model,
                load_active_model(runtime.database, runtime.settings),
            )
        except PneumoError as error:
            self._swap_not_before = time.monotonic() + SWAP_AGAIN_AFTER_S
            log.warning(
                "model_not_swapped", model=record.name, code=error.code, sentence=error.sentence
            )
            return
        log.info("model_swapped", before=before.record.name, after=record.name)
        # In a thread of its own: an old batch that hangs must not stop this watch.
        threading.Thread(target=before.close, kwargs={"finish": True}, daemon=True).start()


def alive_file(folder: Path, worker_name: str) -> Path:
    """The file that a living worker touches."""
    return folder / f"{worker_name}.alive"
