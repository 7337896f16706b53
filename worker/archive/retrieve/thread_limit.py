"""Limit how many threads of a process retrieve at once, so that a slow archive leaves the others free.

A study that finds no free slot is postponed until about the time of the next free one: a study that came
back at once would be claimed again and again in vain.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import Postponed

MIN_WAIT_S, MAX_WAIT_S = 1.0, 600.0
"""Bounds of the wait; another process may have a free slot long before."""
INITIAL_MEAN_S = 2.0
"""Assumed duration of a retrieval, before this process has measured one."""
SMOOTHING = 0.2
"""Weight of each retrieval in the mean."""


class RetrieveLimit:
    """The slots of one process; for any thread."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._mean_s = INITIAL_MEAN_S
        self._last_at = 0.0
        """When the study that was postponed last comes again, by the monotonic clock."""
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, *, stat: bool) -> Iterator[None]:
        """Hold a slot while the block runs; STAT always gets one. Raises Postponed if all are taken."""
        with self._lock:
            if self._taken >= self._at_once and not stat:
                raise Postponed(
                    "FETCHES_AT_ONCE",
                    f"{self._taken} studies are being fetched by this worker, as many as "
                    "PNEUMO_FETCHES_AT_ONCE allows; this one is tried again automatically.",
                    wait_s=self._wait_s(),
                )
            self._taken += 1
        began = time.monotonic()
        try:
            yield
            with self._lock:
                self._mean_s += SMOOTHING * (time.monotonic() - began - self._mean_s)
        finally:
            with self._lock:
                self._taken -= 1

    def _wait_s(self) -> float:
        moment = time.monotonic()
        after = max(self._last_at, moment + MIN_WAIT_S) + self._mean_s / self._at_once
        self._last_at = min(after, moment + MAX_WAIT_S)
        return min(self._last_at - moment, MAX_WAIT_S)  # the difference may round up
