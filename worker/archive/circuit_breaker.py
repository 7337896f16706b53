"""Leaving an archive alone for a while after it failed, so that no worker's thread hangs on it."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from worker.errors import Unavailable
from worker.settings import Settings


@dataclass(frozen=True, kw_only=True)
class _OpenCircuit:
    """Since an archive failed."""

    until: float
    failures: int
    code: str
    sentence: str


class CircuitBreaker:
    """What this process knows of archives that fail; each pause is twice as long as the last."""

    def __init__(self, settings: Settings) -> None:
        self._base_s, self._ceiling_s = settings.retry_base_s, settings.retry_ceiling_s
        self._pauses: dict[str, _OpenCircuit] = {}
        self._lock = threading.Lock()

    def refuse_when_open(self, subject: str) -> None:
        """Raise Away at once while the archive is left alone."""
        with self._lock:
            pause = self._pauses.get(subject)
        if pause is not None and time.monotonic() < pause.until:
            raise self._away(subject, pause)

    def record_failure(self, error: Unavailable) -> Unavailable:
        """Begin a pause, or go on with the one that another thread began; says how long to wait."""
        moment = time.monotonic()
        with self._lock:
            pause = self._pauses.get(error.subject)
            if pause is None or pause.until <= moment:
                failures = pause.failures + 1 if pause else 1
                # Bounded before it is raised: days of failures would overflow.
                delay_s = min(self._base_s * 2.0 ** min(failures - 1, 30), self._ceiling_s)
                pause = _OpenCircuit(
                    until=moment + delay_s,
                    failures=failures,
                    code=error.code,
                    sentence=error.sentence,
                )
                self._pauses[error.subject] = pause
        return self._away(error.subject, pause)

    def record_success(self, subject: str) -> None:
        """All is well with it."""
        with self._lock:
            self._pauses.pop(subject, None)

    def _away(self, subject: str, pause: _OpenCircuit) -> Unavailable:
        """Some wait a little longer, so that not all come back at once."""
        left = max(0.0, pause.until - time.monotonic())
        wait_s = left + random.random() * max(self._base_s, left / 2)  # noqa: S311
        return Unavailable(pause.code, pause.sentence, subject=subject, wait_s=wait_s)
