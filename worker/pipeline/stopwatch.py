"""Where a study's time went, in seconds per step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds by step; steps may be entered many times."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the block's duration towards step `name`, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    def seconds(self, name: str) -> float:
        """Seconds spent in step `name` so far; 0 if it was never entered."""
        return self._seconds[name]

    def total(self) -> float:
        """Seconds since the watch was made."""
        return time.perf_counter() - self._started
