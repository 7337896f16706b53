"""Whether a part on this machine is alive: what container health checks and `pneumo health` ask."""

from __future__ import annotations

import time
from dataclasses import dataclass

from worker.errors import Rejected
from worker.settings import Settings

WORKER_MAX_AGE_S = 20.0
"""A worker touches its file every 5 s, some seconds later while it waits for its database."""
RELAY_MAX_AGE_S = 30.0
"""The relay touches its file after every round that reached database and broker."""
WATCH_MAX_AGE_S = 60.0
"""The watcher touches its file after every look; a database that is away holds it for 30 s."""

HEARTBEATS = {
    "worker": ("worker", "w-*.alive", WORKER_MAX_AGE_S),  # any worker on this machine will do
    "relay": ("relay", "relay.alive", RELAY_MAX_AGE_S),
    "watch": ("watcher", "watch.alive", WATCH_MAX_AGE_S),
}
"""Of each part: its name, the files that it touches, and how old the newest may be in seconds."""
LISTENER = "listener"
"""The part that is asked by C-ECHO."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether a part is healthy, and why that is assumed."""

    healthy: bool
    """Whether the part does its work."""
    sentence: str
    """For a person."""


def check(part: str, settings: Settings) -> Health:
    """Check `worker`, `relay`, `listener` or `watch`. Raises Rejected("UNKNOWN_PART")."""
    if part == LISTENER:
        return _listener_health(settings)
    if part not in HEARTBEATS:
        known = "worker, relay, listener, watch"
        raise Rejected("UNKNOWN_PART", f"There is no part {part!r} to check; expected {known}.")
    name, pattern, max_age_s = HEARTBEATS[part]
    stamps = [file.stat().st_mtime for file in settings.alive_dir.glob(pattern)]
    if not stamps:
        return Health(healthy=False, sentence=f"No {name} has given a sign of life here.")
    age = time.time() - max(stamps)
    return Health(
        healthy=age <= max_age_s,
        sentence=f"The {name}'s last sign of life is {age:.0f} s old; up to {max_age_s:.0f} s is "
        "healthy.",
    )


def _listener_health(settings: Settings) -> Health:
    """Whether the listener answers C-ECHO (PS3.4 A.4)."""
    from worker.listener.storage_scp import echo

    healthy = echo(settings)
    answers = "answers C-ECHO" if healthy else "does not answer C-ECHO"
    return Health(
        healthy=healthy, sentence=f"The listener at port {settings.listen_port} {answers}."
    )
