"""What an installation must have to itself: its state folder and its ports."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from worker.errors import Rejected, Resource
from worker.local.broker import is_embedded, port_of
from worker.settings import Settings


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Let only one installation run in a state folder. Raises Rejected("ALREADY_RUNNING")."""
    with _lock_file(settings) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Rejected(
                "ALREADY_RUNNING",
                "An installation is already running in this state folder. Stop it first, or give "
                "another folder with --state.",
            ) from None
        yield


def _lock_file(settings: Settings) -> TextIO:
    try:
        # Other users may not enter: the database in it holds patient ids.
        settings.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        return (settings.state_dir / "lock").open("w")
    except OSError as error:
        raise Resource(
            "STATE_FOLDER_UNUSABLE",
            f"The state folder {settings.state_dir} cannot be written ({error.strerror}). Correct "
            "--state or PNEUMO_STATE_DIR, or its permissions.",
        ) from None


def require_free_ports(settings: Settings) -> None:
    """Raise Resource("PORT_TAKEN") naming every port of this installation that is taken."""
    ports = {"PNEUMO_LISTEN_PORT": settings.listen_port}
    if is_embedded(settings):
        ports["PNEUMO_BROKER_URL"] = port_of(settings)
    taken = [f"{port} ({variable})" for variable, port in ports.items() if not _is_free(port)]
    if taken:
        raise Resource(
            "PORT_TAKEN",
            f"Another program on this machine is using port {' and port '.join(taken)}. Stop it, "
            "or set the variable to a free port.",
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
