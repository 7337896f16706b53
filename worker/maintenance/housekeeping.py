"""What relay and workers tidy beside their work, a little at a time: see retention.py, leftovers.py."""

from __future__ import annotations

import math
import secrets
import time
from itertools import cycle

from db.engine.session import Database
from worker.intake.drop_folder import end_conditions_of_removed_folders
from worker.logging import get_logger
from worker.maintenance.orphans import (
    FOLDERS,
    sweep_alive_files,
    sweep_orphans,
    sweep_part_files,
)
from worker.maintenance.retention import BATCH, remove_expired_files
from worker.settings import Settings

log = get_logger(__name__)

ACTOR = "relay"
INTERVAL_S = 60.0
"""Between two looks. Each sweeps one of the 256 inner folders, so that all are swept in 4.3 hours."""


class OrphanSweep:
    """What no row needs leaves one disk: the relay's, and that of each worker.

    Files that workers fetch lie on their own disks. The relay's rows say that the files of a study
    left; a file of them on another disk is from then on one that no row needs. Any number of
    processes may sweep the same disk.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        # From anywhere: a process that is started anew each night would else never get to the end.
        begin = secrets.randbelow(len(FOLDERS))
        self._folders = cycle(FOLDERS[begin:] + FOLDERS[:begin])

    def run_once(self) -> None:
        """Sweep the next inner folder. One that cannot be written is told and keeps nothing up."""
        try:
            self._sweep()
        except OSError as error:
            log.warning("sweep_failed", error_type=type(error).__qualname__)

    def _sweep(self) -> None:
        orphans = sweep_orphans(self._settings, self._database, next(self._folders))
        half_written = sweep_part_files(self._settings)
        signs = sweep_alive_files(self._settings)
        if orphans.files or half_written or signs:
            log.info(
                "leftovers_swept",
                files=orphans.files,
                bytes=orphans.size,
                half_written=half_written,
                stale_alive_files=signs,
            )


class Housekeeping:
    """`turn` once in each of the relay's turns; most turns do nothing."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._sweeping = OrphanSweep(settings, database)
        self._retained_at = self._swept_at = -math.inf

    def run_once(self) -> None:
        """Tidy what is due."""
        moment = time.monotonic()
        if moment - self._retained_at >= INTERVAL_S:
            left = remove_expired_files(self._settings, self._database, actor=ACTOR)
            if left.studies < BATCH:  # else there are more: go on in the next turn
                self._retained_at = moment
        if moment - self._swept_at >= INTERVAL_S:
            self._swept_at = moment
            end_conditions_of_removed_folders(self._settings, self._database)
            self._sweeping.run_once()
