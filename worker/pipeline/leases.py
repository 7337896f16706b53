"""Renew the leases of a running worker, so that only a dead worker's studies are reclaimed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from db.engine.session import Database
from db.studies.claims import renew_leases
from db.values import Claim
from worker.logging import get_logger
from worker.pipeline.process_exit import exit_process

log = get_logger(__name__)


class LeaseKeeper:
    """One thread that renews every held claim, `renewal_s` apart.

    When a claim has been held for `limit_s`, its study hangs. A thread cannot be ended from outside,
    so the process exits, its leases expire, and the study counts as having crashed a worker
    (db/studies/publication.py), which parks it in the end.

    Leases are renewed by (study, token): a claim that another worker took over meanwhile is not taken
    back, and the fencing check at the end refuses to store its result.
    """

    def __init__(
        self, database: Database, *, lease_s: float, renewal_s: float, limit_s: float
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._renewal_s = renewal_s
        self._limit_s = limit_s
        self._held: dict[tuple[int, int], float] = {}
        """(study, token) -> since when, by the monotonic clock."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Renew `claim` for as long as the block runs."""
        held = (claim.study_id, claim.token)
        with self._lock:
            self._held[held] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(held, None)

    def close(self) -> None:
        """Stop renewing; leases that are still held expire by themselves."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._renewal_s):
            with self._lock:
                held = sorted(self._held)
                oldest = min(self._held.values(), default=time.monotonic())
            if time.monotonic() - oldest > self._limit_s:
                exit_process("study_hangs", seconds=self._limit_s)
            if held:
                self._renew(held)

    def _renew(self, held: list[tuple[int, int]]) -> None:
        try:
            with self._database.transaction() as session:
                lost = renew_leases(session, held, lease_s=self._lease_s)
        except Exception as error:  # noqa: BLE001  the thread must outlive any outage
            log.warning("lease_renewal_failed", error_type=type(error).__qualname__)
            return
        with self._lock:
            lost &= self._held.keys()  # a claim that ended meanwhile was not lost
        for study_id, token in sorted(lost):
            log.warning("lease_lost", study_id=study_id, attempt=token)
