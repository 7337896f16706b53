"""A worker's care for its own disk, in a thread beside its work: room to fetch to, and what may leave.

What workers fetch lies on their own disks, where the relay cannot tidy.
"""

from __future__ import annotations

import threading

from db.engine.session import Database
from worker.archive.retrieve.disk import RetrieveDisk
from worker.logging import get_logger
from worker.maintenance.housekeeping import INTERVAL_S, OrphanSweep
from worker.settings import Settings

log = get_logger(__name__)


class DiskMaintenance:
    """One thread that tidies every `interval_s` until it is closed."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        disk: RetrieveDisk,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._interval_s = interval_s
        self._steps = (disk.run_once, OrphanSweep(settings, database).run_once)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what runs."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            for turn in self._steps:
                try:
                    turn()
                except Exception as error:  # noqa: BLE001  the thread must outlive any outage
                    log.warning("disk_turn_failed", error_type=type(error).__qualname__)
