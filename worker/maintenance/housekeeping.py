"""What relay and workers tidy beside their work, a little at a time: see retention.py and orphans.py."""

from __future__ import annotations

import math
import secrets
import time
from itertools import cycle

from db.engine.session import Database
from worker.archive.repeating_thread import RepeatingThread
from worker.archive.retrieve.disk import RetrieveDisk
from worker.intake.drop_folder import end_conditions_of_removed_folders
from worker.logging import get_logger
from worker.maintenance.orphans import (
    FOLDERS,
    sweep_alive_files,
    sweep_orphans,
    sweep_part_files,
)
from worker.maintenance.pseudonyms import Pseudonymiser
from worker.maintenance.retention import BATCH, remove_expired_files
from worker.settings import Settings

log = get_logger(__name__)

ACTOR = "relay"
INTERVAL_S = 60.0
"""Between two runs. Each sweeps one of the 256 inner folders, so that all are swept in 4.3 hours."""


class OrphanSweep:
    """Removes what no row needs from one disk: the relay's, or that of a worker.

    Files that workers retrieve are on their own disks. Once the relay has marked the files of a study
    as removed, any of them on another disk is an orphan. Any number of processes may sweep the same
    disk.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        # From a random folder: a process that is started anew each night would never reach the last.
        begin = secrets.randbelow(len(FOLDERS))
        self._folders = cycle(FOLDERS[begin:] + FOLDERS[:begin])

    def run_once(self) -> None:
        """Sweep the next inner folder; log one that cannot be written, and go on."""
        try:
            orphans = sweep_orphans(self._settings, self._database, next(self._folders))
            half_written = sweep_part_files(self._settings)
            alive_files = sweep_alive_files(self._settings)
        except OSError as error:
            log.warning("sweep_failed", error_type=type(error).__qualname__)
            return
        if orphans.files or half_written or alive_files:
            log.info(
                "leftovers_swept",
                files=orphans.files,
                bytes=orphans.size,
                half_written=half_written,
                stale_alive_files=alive_files,
            )


class Housekeeping:
    """The relay's tidying; call `run_once` in each of its passes, most of which do nothing."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._orphans = OrphanSweep(settings, database)
        self._pseudonymiser = Pseudonymiser(settings, database)
        self._retained_at = self._swept_at = self._filled_at = -math.inf

    def run_once(self) -> None:
        """Tidy what is due."""
        moment = time.monotonic()
        if moment - self._retained_at >= INTERVAL_S:
            removed = remove_expired_files(self._settings, self._database, actor=ACTOR)
            if removed.studies < BATCH:  # else there are more: go on in the next pass
                self._retained_at = moment
        if moment - self._filled_at >= INTERVAL_S and not self._pseudonymiser.run_once():
            self._filled_at = moment
        if moment - self._swept_at >= INTERVAL_S:
            self._swept_at = moment
            end_conditions_of_removed_folders(self._settings, self._database)
            self._orphans.run_once()


class DiskMaintenance(RepeatingThread):
    """A worker's care for its own disk, where the relay cannot tidy: room to retrieve to, and orphans."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        disk: RetrieveDisk,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        steps = (disk.run_once, OrphanSweep(settings, database).run_once)
        super().__init__(
            "disk-keeper", steps, interval_s=interval_s, failure_event="disk_turn_failed"
        )
        self.start()
