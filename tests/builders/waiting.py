"""Wait for what processes and threads do, with deadlines that grow with the slowness of the machine.

A deadline in a test says when to give up, never how fast something is: it may be generous, and it is
stated in the seconds of an idle machine. `scaled` turns them into seconds here and now.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

REFERENCE_S = 0.01
"""Seconds that `_fixed_work` takes on the machine on which deadlines were chosen."""
MAX_SLOWNESS = 12.0
"""Whoever is slower yet has another trouble than a short deadline."""
_VARIABLE = "TESTS_CPU_SLOWNESS"


def wait_until(
    holds: Callable[[], object],
    within_s: float = 20,
    *,
    what: str | Callable[[], str] = "what the test waits for",
    every_s: float = 0.02,
) -> None:
    """Return once `holds()` is true; fail with `what` after `within_s` seconds of an idle machine.

    The load is looked at again at each turn, so that a machine that becomes busy gets more time.
    """
    started = time.monotonic()
    while not holds():
        waited = time.monotonic() - started
        if waited > scaled(within_s):
            said = what() if callable(what) else what
            raise AssertionError(f"{said}: not within {waited:.0f} s")
        time.sleep(every_s)


def scaled(seconds: float) -> float:
    """Return as many seconds as this machine needs now for what an idle one does in `seconds`."""
    return seconds * slowness()


def slowness() -> float:
    """Return how many times longer work takes here now, 1.0 to `MAX_SLOWNESS`.

    The speed of the processor is measured once per run (the processes that a run starts inherit it);
    the load is the number of processes that want a core, for each core that we may use.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = f"{min(_fixed_work() for _ in range(5)) / REFERENCE_S:.3f}"
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    factor = max(1.0, float(os.environ[_VARIABLE])) * max(1.0, load)
    return min(factor, MAX_SLOWNESS)


def _fixed_work() -> float:
    """Return the seconds that a small fixed computation takes."""
    started = time.perf_counter()
    total = 0
    for number in range(100_000):
        total += number * number % 7
    return time.perf_counter() - started
