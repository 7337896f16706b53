"""Is a part on this machine alive? What container health checks and `pneumo health` ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.errors import Rejected
from worker.settings import Settings

WORKER_MAX_AGE_S = 20.0
"""A worker touches its file every 5 s, some seconds later while it waits for its database."""
RELAY_MAX_AGE_S = 30.0
"""The relay touches its file after every turn that reached database and broker."""

WATCH_MAX_AGE_S = 60.0
"""The watcher touches its file after every look; a database that is away holds it for 30 s."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """The answer, and how it was found out."""

    healthy: bool
    """Whether the part does its work."""
    sentence: str
    """For a person."""


def check(part: str, settings: Settings) -> Health:
    """Health of `worker`, `relay`, `listener` or `watch`. Raises Rejected("UNKNOWN_PART")."""
    if part not in CHECKS:
        raise Rejected(
            "UNKNOWN_PART", f"There is no part {part!r} to ask; expected {', '.join(CHECKS)}."
        )
    return CHECKS[part](settings)


def worker_health(settings: Settings) -> Health:
    """A worker whose heartbeat is fresh; any on this machine will do."""
    return _fresh("worker", settings, "w-*.alive", WORKER_MAX_AGE_S)


def relay_health(settings: Settings) -> Health:
    """A relay whose last complete turn is not long ago."""
    return _fresh("relay", settings, "relay.alive", RELAY_MAX_AGE_S)


def listener_health(settings: Settings) -> Health:
    """A listener that answers C-ECHO (PS3.4 A.4)."""
    from worker.listener.storage_scp import echo

    healthy = echo(settings)
    said = "answers C-ECHO" if healthy else "does not answer C-ECHO"
    return Health(healthy=healthy, sentence=f"The listener at port {settings.listen_port} {said}.")


def watch_health(settings: Settings) -> Health:
    """A watcher whose last look through its folder is not long ago."""
    return _fresh("watcher", settings, "watch.alive", WATCH_MAX_AGE_S)


def _fresh(name: str, settings: Settings, pattern: str, within_s: float) -> Health:
    stamps = [file.stat().st_mtime for file in settings.alive_dir.glob(pattern)]
    if not stamps:
        return Health(healthy=False, sentence=f"No {name} has given a sign of life here.")
    age = time.time() - max(stamps)
    return Health(
        healthy=age <= within_s,
        sentence=f"The {name}'s last sign of life is {age:.0f} s old; up to {within_s:.0f} s is well.",
    )


CHECKS: dict[str, Callable[[Settings], Health]] = {
    "worker": worker_health,
    "relay": relay_health,
    "listener": listener_health,
    "watch": watch_health,
}
