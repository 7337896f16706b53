"""A single-machine installation: its parts, its preparation, and when it is ready.

`pneumo up` and `pneumo demo` run the same parts; in production each part is a container or a unit
of its own (docker/compose.yaml), with the same commands.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from db.engine.clock import now
from db.engine.migrate import upgrade
from db.engine.session import Database
from db.ledger.heartbeats import live_workers
from db.vocabulary.enums import Lane
from worker.celery import DELIVERY
from worker.delivery.destinations import DestinationsFile
from worker.errors import Transient
from worker.inference.active_model import ensure_default_model
from worker.listener.storage_scp import echo
from worker.local.broker import broker_process_spec, is_embedded, is_reachable
from worker.local.supervisor import TICK_S, ProcessSpec, Supervisor
from worker.peers.peers_file import read_peers
from worker.relay.relay import alive_file
from worker.screens.console import opened
from worker.settings import Settings

READY_TIMEOUT_S = 120.0
"""Loading torch and a model takes seconds; on a busy machine a minute."""
WORKER_GRACE_S = 60.0
"""A worker finishes the studies it has; what takes longer is done again when its lease ends."""
DELIVERY_GRACE_S = 30.0
"""A delivery that takes longer is sent again by the next process."""
LANE_BY_PROCESS = {
    "worker": Lane.ROUTINE.value,
    "suspect": Lane.SUSPECT.value,
    "delivery": DELIVERY,
}
"""The queue by which a worker's process is recognised among the heartbeats."""


def worker_command(lanes: str, pool: str, concurrency: int) -> tuple[str, ...]:
    """Return the stock command, `celery -A worker worker …`, run by this interpreter."""
    celery = (sys.executable, "-m", "celery", "-A", "worker", "worker")
    return (
        *celery, "-P", pool, "-c", str(concurrency), "-Q", lanes,
        "--without-gossip", "--without-mingle", "-n", f"{lanes.replace(',', '-')}@%h",
    )  # fmt: skip


def process_specs(
    settings: Settings, *, concurrency: int, suspect: bool = True
) -> list[ProcessSpec]:
    """Return every process of the installation, in the order of starting."""
    pneumo = (sys.executable, "-m", "worker.cli")
    predict = worker_command("stat,routine", "threads", concurrency)
    parts = [broker_process_spec(settings)] if is_embedded(settings) else []
    parts.append(ProcessSpec(name="worker", command=predict, grace_s=WORKER_GRACE_S))
    if suspect:
        isolate = worker_command("suspect", "solo", 1)
        parts.append(ProcessSpec(name="suspect", command=isolate, is_expected_to_exit=True))
    if read_peers(settings.peers).with_role("results"):
        deliver = worker_command(DELIVERY, "threads", 2)
        parts.append(ProcessSpec(name="delivery", command=deliver, grace_s=DELIVERY_GRACE_S))
    parts.append(ProcessSpec(name="relay", command=(*pneumo, "relay")))
    parts.append(ProcessSpec(name="listener", command=(*pneumo, "listen")))
    if settings.watch_folder is not None:
        parts.append(ProcessSpec(name="watch", command=(*pneumo, "watch")))
    return parts


def prepare(settings: Settings) -> None:
    """Bring the database up to date and activate a model, in a state folder that is `locked`."""
    upgrade(settings.database_url)
    with opened(settings) as database:
        ensure_default_model(database, settings)
        # The relay does so too, but later: the first result must find its destination.
        # Without a file no destination is switched off.
        DestinationsFile(settings, database).follow()


def wait_until_ready(
    settings: Settings,
    supervisor: Supervisor,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
) -> None:
    """Return when every part answers. Raises Transient("NOT_READY") with the part that does not.

    Only heartbeats after this call count, not those of an earlier run.
    """
    started = time.time()
    until = time.monotonic() + READY_TIMEOUT_S
    with opened(settings) as database:
        with database.reading() as session:
            since = now(session) - timedelta(seconds=1)
        while missing := _missing(settings, database, supervisor, since, started):
            on_wait(missing)
            supervisor.check_children()
            if (child := supervisor.crash_looping()) or time.monotonic() > until:
                raise _not_ready(child.part.name if child else missing, supervisor)
            time.sleep(TICK_S)


def _missing(
    settings: Settings, database: Database, supervisor: Supervisor, since: datetime, started: float
) -> str | None:
    """Return the first part, in the order of starting, that does not answer yet."""
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
            f"No {name} answers, and this installation does not run its own. Start it, or correct "
            "PNEUMO_BROKER_URL.",
        )
    return Transient(
        "NOT_READY",
        f"The {name} does not start; its log ends with: {supervisor.last_line(name)}",
    )
