"""A single-machine installation: its parts, how it is prepared, when it is ready.

`pneumo up` and `pneumo demo` run the same parts; in production each part is a container or a unit
of its own (docker/compose.yaml), with the same commands.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TextIO

from db.engine.clock import now
from db.engine.migrate import upgrade
from db.engine.session import Database
from db.ledger.heartbeats import live_workers
from db.vocabulary.enums import Lane
from worker.celery import DELIVERY
from worker.delivery.destinations import DestinationsFile
from worker.errors import Rejected, Resource, Transient
from worker.inference.active_model import ensure_default_model
from worker.listener.storage_scp import echo
from worker.local.broker import broker_process_spec, is_embedded, is_reachable, port_of
from worker.local.supervisor import TICK_S, ProcessSpec, Supervisor
from worker.peers.peers_file import read_peers
from worker.relay.relay import alive_file
from worker.settings import Settings

READY_TIMEOUT_S = 120.0
"""Loading torch and a model takes seconds; on a busy machine a minute."""
WORKER_GRACE_S = 60.0
"""A worker finishes the studies it has; what takes longer comes back by its lease."""
DELIVERY_GRACE_S = 30.0
"""A delivery that takes longer is sent again by the next process."""
LANE_BY_PROCESS = {
    "worker": Lane.ROUTINE.value,
    "suspect": Lane.SUSPECT.value,
    "delivery": DELIVERY,
}
"""By which queue a worker's part is recognised among those that beat."""


def worker_command(lanes: str, pool: str, concurrency: int) -> tuple[str, ...]:
    """The stock command, `celery -A worker worker …`, run by this interpreter."""
    celery = (sys.executable, "-m", "celery", "-A", "worker", "worker")
    return (
        *celery, "-P", pool, "-c", str(concurrency), "-Q", lanes,
        "--without-gossip", "--without-mingle", "-n", f"{lanes.replace(',', '-')}@%h",
    )  # fmt: skip


def process_specs(
    settings: Settings, *, concurrency: int, suspect: bool = True
) -> list[ProcessSpec]:
    """Every process of the installation, in the order of starting."""
    pneumo = (sys.executable, "-m", "worker.cli")
    parts = [broker_process_spec(settings)] if is_embedded(settings) else []
    parts.append(
        ProcessSpec(
            name="worker",
            command=worker_command("stat,routine", "threads", concurrency),
            grace_s=WORKER_GRACE_S,
        )
    )
    if suspect:
        parts.append(
            ProcessSpec(
                name="suspect",
                command=worker_command("suspect", "solo", 1),
                is_expected_to_exit=True,
            )
        )
    if read_peers(settings.peers).with_role("results"):
        parts.append(
            ProcessSpec(
                name="delivery",
                command=worker_command(DELIVERY, "threads", 2),
                grace_s=DELIVERY_GRACE_S,
            )
        )
    parts.append(ProcessSpec(name="relay", command=(*pneumo, "relay")))
    parts.append(ProcessSpec(name="listener", command=(*pneumo, "listen")))
    if settings.watch_folder is not None:
        parts.append(ProcessSpec(name="watch", command=(*pneumo, "watch")))
    return parts


def prepare(settings: Settings) -> None:
    """In a folder that is ours (`locked`): bring the database up to date, activate a model."""
    for variable, port in _own_ports(settings).items():
        _require_free(variable, port)
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    ensure_default_model(database, settings)
    # As its relay does, so that the first result is owed: without a file nothing is switched off.
    DestinationsFile(settings, database).follow()
    database.dispose()


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Only one installation runs out of a state folder. Raises Rejected("ALREADY_RUNNING")."""
    with _lock_file(settings) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Rejected(
                "ALREADY_RUNNING",
                "An installation already runs out of this state folder. Stop it first, or give "
                "another folder with --state.",
            ) from None
        yield


def _lock_file(settings: Settings) -> TextIO:
    try:
        # Not for everybody's eyes: the database in it holds patient ids.
        settings.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        return (settings.state_dir / "lock").open("w")
    except OSError as error:
        raise Resource(
            "STATE_FOLDER_UNUSABLE",
            f"The state folder {settings.state_dir} cannot be written ({error.strerror}). Correct "
            "--state or PNEUMO_STATE_DIR, or its rights.",
        ) from None


def wait_until_ready(
    settings: Settings,
    supervisor: Supervisor,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
) -> None:
    """Return when every part answers. Raises Transient("NOT_READY") with the part that does not.

    Signs of life count from this call, so that those of an earlier run do not.
    """
    database, started = Database(settings.database_url), time.time()
    with database.reading() as session:
        since = now(session) - timedelta(seconds=1)
    until = time.monotonic() + READY_TIMEOUT_S
    try:
        while missing := _missing(settings, database, supervisor, since, started):
            on_wait(missing)
            supervisor.check_children()
            if (child := supervisor.crash_looping()) or time.monotonic() > until:
                raise _not_ready(child.part.name if child else missing, supervisor)
            time.sleep(TICK_S)
    finally:
        database.dispose()


def _missing(
    settings: Settings, database: Database, supervisor: Supervisor, since: datetime, started: float
) -> str | None:
    """The first part, in the order of starting, that does not answer yet."""
    if not is_reachable(settings):
        return "broker"
    with database.reading() as session:
        alive = [w for w in live_workers(session, within_s=60) if w.started_at >= since]
    for name, lane in LANE_BY_PROCESS.items():
        if name in supervisor.children and not any(lane in worker.lanes for worker in alive):
            return name
    relay = alive_file(settings)
    if not relay.exists() or relay.stat().st_mtime < started:
        return "relay"
    return None if echo(settings) else "listener"


def _not_ready(name: str, supervisor: Supervisor) -> Transient:
    if name not in supervisor.children:
        return Transient(
            "NOT_READY",
            f"No {name} answers, and it is not ours to start. Start it, or correct "
            "PNEUMO_BROKER_URL.",
        )
    return Transient(
        "NOT_READY",
        f"The {name} does not start; its log ends with: {supervisor.last_line(name)}",
    )


def _own_ports(settings: Settings) -> dict[str, int]:
    ports = {"PNEUMO_LISTEN_PORT": settings.listen_port}
    if is_embedded(settings):
        ports["PNEUMO_BROKER_URL"] = port_of(settings)
    return ports


def _require_free(variable: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Resource(
                "PORT_TAKEN",
                f"Port {port} on this machine is taken by another program. End it, or set "
                f"{variable} to a free port.",
            ) from None
