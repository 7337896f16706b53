"""Leave an archive alone for a while after it failed, so that no worker's thread hangs on it.

The circuits are of one process, unlike the probes of destinations, which are rows: a claim on a delivery
must skip an open destination in SQL, while a study is claimed first, whatever archive it is ordered from,
and each node may reach an archive by a network and a disk of its own.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from worker.errors import Unavailable
from worker.settings import Settings
from worker.transactions import in_transaction


@dataclass(frozen=True, kw_only=True)
class _OpenCircuit:
    """An archive that failed."""

    until: float
    """By the monotonic clock."""
    failures: int
    error: Unavailable


class CircuitBreaker:
    """The archives that fail for this process; each wait is twice as long as the one before."""

    def __init__(self, settings: Settings) -> None:
        self._base_s, self._ceiling_s = settings.retry_base_s, settings.retry_ceiling_s
        self._open: dict[str, _OpenCircuit] = {}
        self._lock = threading.Lock()

    def refuse_when_open(self, subject: str) -> None:
        """Raise Unavailable at once while the archive is left alone."""
        with self._lock:
            circuit = self._open.get(subject)
        if circuit is not None and time.monotonic() < circuit.until:
            raise self._still_open(circuit)

    def record_failure(self, error: Unavailable) -> Unavailable:
        """Open the circuit, unless another thread did; return the error with the time to wait."""
        moment = time.monotonic()
        with self._lock:
            circuit = self._open.get(error.subject)
            if circuit is None or circuit.until <= moment:
                failures = circuit.failures + 1 if circuit else 1
                # The exponent is bounded: days of failures would overflow.
                delay_s = min(self._base_s * 2.0 ** min(failures - 1, 30), self._ceiling_s)
                circuit = _OpenCircuit(until=moment + delay_s, failures=failures, error=error)
                self._open[error.subject] = circuit
        return self._still_open(circuit)

    def record_success(self, subject: str) -> None:
        """Close the circuit."""
        with self._lock:
            self._open.pop(subject, None)

    def _still_open(self, circuit: _OpenCircuit) -> Unavailable:
        """Return the error with its wait, part of it random, so that not all come back at once."""
        left_s = max(0.0, circuit.until - time.monotonic())
        wait_s = left_s + random.random() * max(self._base_s, left_s / 2)  # noqa: S311
        error = circuit.error
        return Unavailable(error.code, error.sentence, subject=error.subject, wait_s=wait_s)


class RecordedCircuitBreaker(CircuitBreaker):
    """A circuit breaker whose failures are also conditions, which `pneumo status` shows."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(settings)
        self._database = database

    def record_failure(self, error: Unavailable) -> Unavailable:
        """Note the condition and open the circuit; an error of an open circuit is returned as it is."""
        if error.wait_s:
            return error
        self.note(error)
        return super().record_failure(error)

    def record_success(self, subject: str) -> None:
        """Close the circuit and end the condition."""
        super().record_success(subject)
        in_transaction(self._database, lambda session: end_condition(session, subject))

    def note(self, error: Unavailable) -> None:
        """Note the condition alone."""
        in_transaction(
            self._database,
            lambda session: note_condition(session, error.subject, error.code, error.sentence),
        )
