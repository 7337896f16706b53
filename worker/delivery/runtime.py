"""What a delivery worker holds while it lives. No GPU, no queue of frames: it never predicts."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

from db.heartbeats import beat
from db.session import Database
from worker.celery import DELIVERY
from worker.imaging.decode_budget import PROCESS_BUDGET, DecodeLimits
from worker.logging import get_logger
from worker.peers import Peers, read_peers
from worker.results.words import ResultWords
from worker.settings import Settings, settings

log = get_logger(__name__)

INTERVAL_S = 5.0
"""Between two signs of life."""


class DeliveryRuntime:
    """Everything `worker.delivery.story` needs, with one `close`."""

    def __init__(self, site: Settings, name: str | None = None) -> None:
        """Raises Rejected: PEERS_INVALID, and what ResultWords says of the settings."""
        self.pid = os.getpid()
        self.site = site
        self.name = name or f"w-{uuid.uuid4().hex[:12]}"
        self.words = ResultWords.of(site)
        PROCESS_BUDGET.limit(
            DecodeLimits.of_megabytes(frame=site.decode_frame_mb, process=site.decode_memory_mb)
        )
        self.database = Database(site.database_url)
        read_peers(site.peers)  # which destinations there are is for the relay alone to say
        self._file: Path = site.alive_dir / f"{self.name}.alive"
        self._stop = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def peers(self) -> Peers:
        """Read at each use: a destination that was corrected needs no restart."""
        return read_peers(self.site.peers)

    def close(self) -> None:
        """Take the sign of life away, give back connections."""
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
            beat(session, worker_name=self.name, lanes=DELIVERY, device="cpu", model_name=None)


_runtime: DeliveryRuntime | None = None
_making = threading.Lock()


def delivery_runtime() -> DeliveryRuntime:
    """This process's runtime, made at the first call; a forked child makes its own."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = DeliveryRuntime(settings())
        return _runtime


def close_delivery_runtime() -> None:
    """Close this process's runtime if it has one."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is not None and _runtime.pid == os.getpid():
            _runtime.close()
        _runtime = None
