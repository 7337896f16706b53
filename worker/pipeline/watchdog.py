"""A watchdog over every task of a worker process: one that hangs ends the process.

A thread cannot be ended from outside. So a task that shows no progress for longer than its limit makes
the process exit (process_exit.py); the supervisor starts a fresh one, and rows, leases and the relay
bring back what it was working on. Reading the clock costs nothing, and one thread watches all tasks.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.logging import get_logger
from worker.pipeline.process_exit import exit_process

log = get_logger(__name__)

CHECK_INTERVAL_S = 1.0


@dataclass
class _Watched:
    """A task that is running."""

    kind: str
    """Of the task, for the log: a fixed word."""
    limit_s: float
    progressed_at: float
    """By the monotonic clock."""


class Watchdog:
    """Watches the tasks of this process; its thread starts with the first of them."""

    def __init__(
        self,
        *,
        interval_s: float = CHECK_INTERVAL_S,
        on_hang: Callable[..., object] = exit_process,
    ) -> None:
        self._interval_s, self._on_hang = interval_s, on_hang
        self._lock = threading.Lock()
        self._running: dict[int, _Watched] = {}
        self._numbers = itertools.count()
        self._pid = 0
        """Of the process that the thread runs in: a thread does not survive a fork."""

    @contextmanager
    def watch(self, kind: str, *, limit_s: float) -> Iterator[Callable[[], None]]:
        """Watch the block; it yields a function that reports progress, which restarts the limit."""
        task = _Watched(kind=kind, limit_s=limit_s, progressed_at=time.monotonic())
        with self._lock:
            number = next(self._numbers)
            self._start()
            self._running[number] = task

        def report_progress() -> None:
            task.progressed_at = time.monotonic()

        try:
            yield report_progress
        finally:
            with self._lock:
                self._running.pop(number, None)

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._running.clear()  # tasks of the parent
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._interval_s)
            moment = time.monotonic()
            with self._lock:
                running = list(self._running.values())
            for task in running:
                if moment - task.progressed_at > task.limit_s:
                    self._on_hang("worker_hangs", task=task.kind, seconds=task.limit_s)


WATCHDOG = Watchdog()
"""The one of this process."""
