"""The relay: it publishes rows that are due as messages, and takes back the work of dead workers.

Once a second it takes back the studies of dead workers, closes studies whose sender fell silent,
lets no routine study starve, and publishes what is due: studies, folders that a bridge left, and
results for the PACS. Any number of relays may run.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import redis
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError

from db.engine.session import Database
from db.ledger.conditions import end_quiet_condition
from db.studies.intake import close_idle_studies
from db.studies.publication import (
    age_routine,
    due_for_publication,
    mark_published,
    sweep_expired_leases,
)
from db.values.deliveries import Urgency
from db.vocabulary.enums import Lane, Priority
from worker.archive.completeness import start_completeness_thread
from worker.celery import (
    ACCEPT,
    DELIVER,
    DELIVERY,
    DELIVERY_PRIORITY,
    PROCESS_STUDY,
    key_of_priority,
    make_app,
)
from worker.intake.drop_folder import overdue_folders, priority_of
from worker.logging import get_logger
from worker.maintenance.audit_keeper import AuditKeeper
from worker.maintenance.housekeeping import Housekeeping
from worker.messaging.broker_address import broker_address
from worker.messaging.dropped import SUBJECT as FOREIGN_MESSAGES
from worker.relay.deliveries import DeliveryRelay
from worker.relay.publish import publish
from worker.settings import Settings
from worker.storage.disk_condition import DiskCondition

log = get_logger(__name__)

SHUTDOWN_TIMEOUT_S = 2.0
"""How long an archive that is being asked may delay our exit."""
BATCH = 200
"""Most studies published at once; the next batch follows while there are more."""
FOREIGN_QUIET_S = 3600.0
"""So long after the last foreign message their condition ends."""


@dataclass(frozen=True, kw_only=True)
class RelayPass:
    """What one pass of the relay did."""

    taken_back: int = 0
    closed: int = 0
    aged: int = 0
    published: int = 0
    handed_over: int = 0
    deliveries: int = 0


class Broker:
    """What the relay needs of Redis: queue lengths, publishing, and noticing that it was wiped."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._client = redis.Redis.from_url(
            broker_address(settings), socket_timeout=5, socket_connect_timeout=5
        )
        self._prefix = settings.broker_prefix
        self._app = app
        self._marker = f"{self._prefix}relay-marker"

    def was_wiped(self) -> bool:
        """Return True if the marker of an earlier pass is gone, and with it every message."""
        return self._client.get(self._marker) is None

    def leave_marker(self) -> None:
        """Record that everything due has been published since the last wipe."""
        self._client.set(self._marker, uuid.uuid4().hex, nx=True)

    def waiting(self) -> dict[Lane, int]:
        """Count the messages that wait in each lane."""
        return {lane: int(self._client.llen(self._prefix + lane.value)) for lane in Lane}

    def publish(self, study_key: str, lane: Lane) -> None:
        """Send a message: the study's key and nothing else."""
        self._app.send_task(PROCESS_STUDY, args=[study_key], queue=lane.value, argsrepr="[key]")

    def publish_handover(self, name: str) -> None:
        """Send a message: the opaque name of a folder and nothing else."""
        lane = Lane.STAT if priority_of(name) is Priority.STAT else Lane.ROUTINE
        self._app.send_task(ACCEPT, args=[name], queue=lane.value, argsrepr="[name]")

    def deliveries_waiting(self) -> dict[Urgency, int]:
        """Count the messages that wait for a delivery worker."""
        return {
            urgency: int(self._client.llen(self._prefix + key_of_priority(DELIVERY, priority)))
            for urgency, priority in DELIVERY_PRIORITY.items()
        }

    def publish_delivery(self, delivery_key: str, urgency: Urgency) -> None:
        """Send a message: the delivery's key and nothing else."""
        self._app.send_task(
            DELIVER,
            args=[delivery_key],
            queue=DELIVERY,
            priority=DELIVERY_PRIORITY[urgency],
            argsrepr="[key]",
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._app.close()


class Relay:
    """One relay; `run_once` does everything once."""

    def __init__(self, settings: Settings, database: Database, broker: Broker) -> None:
        self._settings = settings
        self._database = database
        self._broker = broker
        self._republished: dict[str, float] = {}
        self._disk = DiskCondition(settings, database)
        self._housekeeping = Housekeeping(settings, database)
        self._deliveries = DeliveryRelay(settings, database, broker)

    def run_once(self) -> RelayPass:
        """Check the disk, sweep, close, age, clean up, publish."""
        self._disk.run_once()
        with self._database.transaction() as session:
            swept = sweep_expired_leases(session)
            end_quiet_condition(session, FOREIGN_MESSAGES, quiet_s=FOREIGN_QUIET_S)
        for claim in swept:
            log.warning("claim_ran_out", study_key=claim.key, action=claim.action.value)
        with self._database.transaction() as session:
            closed = close_idle_studies(session)
            aged = age_routine(session, after_s=self._settings.stat_after_s)
        self._housekeeping.run_once()
        return RelayPass(
            taken_back=len(swept),
            closed=len(closed),
            aged=aged,
            published=self._publish_due(),
            handed_over=self._republish_handovers(),
            deliveries=self._deliveries.run_once(),  # last: no study waits for it
        )

    def _republish_handovers(self) -> int:
        """Send a message for each folder whose own was lost; at most one for each `requeue_after_s`."""
        overdue = overdue_folders(self._settings, older_than_s=self._settings.handover_patience_s)
        now = time.monotonic()
        due = [
            name
            for name in overdue
            if now - self._republished.get(name, -math.inf) >= self._settings.requeue_after_s
        ]
        for name in due:
            self._broker.publish_handover(name)
        self._republished = {n: now if n in due else self._republished[n] for n in overdue}
        return len(due)

    def _publish_due(self) -> int:
        """Publish every due study; all of them, if the broker was wiped."""
        wiped = self._broker.was_wiped()
        if wiped:
            log.warning("broker_empty", action="publishing all that waits")
        published = self._publish_batch(broker_was_wiped=wiped)
        total = published
        while published == BATCH:
            published = self._publish_batch(broker_was_wiped=False)
            total += published
        self._broker.leave_marker()
        return total

    def _publish_batch(self, *, broker_was_wiped: bool) -> int:
        waiting = self._broker.waiting()
        with self._database.transaction() as session:
            due = due_for_publication(
                session,
                limit=BATCH,
                requeue_after_s=self._settings.requeue_after_s,
                broker_was_wiped=broker_was_wiped,
                waiting_in_broker=waiting,
            )
        return publish(self._database, due, self._broker.publish, mark_published)


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; wait while database or broker is away."""
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    database, broker = Database(settings.database_url), Broker(settings, make_app(settings))
    relay, alive = Relay(settings, database, broker), alive_file(settings)
    counting = start_completeness_thread(settings, stop)
    auditing = AuditKeeper(settings, database)
    auditing.start()
    log.info("relay_started")
    while not stop.is_set():
        try:
            done = relay.run_once()
            alive.parent.mkdir(parents=True, exist_ok=True)
            alive.touch()
            if done != RelayPass():
                log.info("relay_turn", **done.__dict__)
        except (BrokerError, redis.RedisError) as error:
            log.warning("broker_away", error_type=type(error).__qualname__)
        except Exception as error:  # noqa: BLE001  one failed pass must not end the relay
            log.warning("relay_turn_failed", error_type=type(error).__qualname__)
        stop.wait(settings.relay_interval_s)
    if counting is not None:
        counting.join(SHUTDOWN_TIMEOUT_S)
    auditing.close()
    broker.close()
    database.dispose()
    log.info("relay_stopped")


def alive_file(settings: Settings) -> Path:
    """Return the file that a living relay touches at each pass."""
    return settings.alive_dir / "relay.alive"
