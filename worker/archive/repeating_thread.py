"""A thread that runs steps again and again beside a process's work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.logging import get_logger

log = get_logger(__name__)


class RepeatingThread(threading.Thread):
    """Runs `steps` every `interval_s` until `stop` is set; a step that fails is logged and tried again."""

    def __init__(
        self,
        name: str,
        steps: Sequence[Callable[[], object]],
        *,
        interval_s: float,
        failure_event: str,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._steps, self._interval_s, self._failure_event = steps, interval_s, failure_event
        self._stop_event = stop or threading.Event()

    def run(self) -> None:
        """Wait and run the steps in turn; called by `start`."""
        while not self._stop_event.wait(self._interval_s):
            for step in self._steps:
                try:
                    step()
                except Exception as error:  # noqa: BLE001  the thread must outlive any outage
                    log.warning(self._failure_event, error_type=type(error).__qualname__)

    def close(self) -> None:
        """Stop, and wait for the step that runs."""
        self._stop_event.set()
        self.join(timeout=5)
