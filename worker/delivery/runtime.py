"""What a delivery worker keeps while it lives. No GPU, no queue of frames: it never predicts."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

from db.engine.session import Database
from db.ledger.heartbeats import record_heartbeat
from worker.celery import DELIVERY
from worker.delivery.errors import unknown
from worker.errors import Rejected
from worker.imaging.decode_budget import PROCESS_BUDGET, DecodeLimits
from worker.logging import get_logger
from worker.messaging.dropped import DROPPED
from worker.peers.peers_file import Peer, Peers, read_peers
from worker.results.result_settings import ResultSettings
from worker.settings import Settings, current_settings

log = get_logger(__name__)

INTERVAL_S = 5.0
"""Between two heartbeats."""


class DeliveryRuntime:
    """Everything `worker.delivery.send` needs, with one `close`."""

    def __init__(self, settings: Settings, name: str | None = None) -> None:
        """Raises Rejected: PEERS_INVALID, and what ResultSettings says of the settings."""
        self.pid = os.getpid()
        self.settings = settings
        self.name = name or f"w-{uuid.uuid4().hex[:12]}"
        self.words = ResultSettings.of(settings)
        PROCESS_BUDGET.limit(
            DecodeLimits.of_megabytes(
                frame=settings.decode_frame_mb, process=settings.decode_memory_mb
            )
        )
        self.database = Database(settings.database_url)
        read_peers(
            settings.peers
        )  # only to check it: the relay alone says which destinations there are
        self._file: Path = settings.alive_dir / f"{self.name}.alive"
        self._stop = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def peers(self) -> Peers:
        """Read at each use: a destination that was corrected needs no restart."""
        return read_peers(self.settings.peers)

    def destination(self, name: str) -> Peer:
        """Return the destination as the file has it now.

        Raises DestinationFailed DESTINATION_UNKNOWN.
        """
        try:
            return self.peers.single_with_role("results", name)
        except Rejected:
            raise unknown(name) from None

    def close(self) -> None:
        """Stop the heartbeat, remove its file, close all connections."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._file.unlink(missing_ok=True)
        self.database.dispose()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001  the thread must outlive any outage
                log.warning("heartbeat_failed", error_type=type(error).__qualname__)

    def _beat(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        with self.database.transaction() as session:
            record_heartbeat(
                session, worker_name=self.name, lanes=DELIVERY, device="cpu", model_name=None
            )
            DROPPED.note(session)


_runtime: DeliveryRuntime | None = None
_making = threading.Lock()


def delivery_runtime() -> DeliveryRuntime:
    """This process's runtime, made at the first call; a forked child makes its own."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = DeliveryRuntime(current_settings())
        return _runtime


def close_delivery_runtime() -> None:
    """Close this process's runtime if it has one."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is not None and _runtime.pid == os.getpid():
            _runtime.close()
        _runtime = None
