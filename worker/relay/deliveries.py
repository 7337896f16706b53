"""The relay's step for deliveries: take back those of dead workers, publish those that are due.

It comes last in a pass, is short, and handles its own failures: no study waits for a delivery.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from db.deliveries.commitment import delete_obsolete_requests
from db.deliveries.publication import due_for_delivery, mark_deliveries_published, sweep_deliveries
from db.engine.session import Database
from db.values.deliveries import Urgency
from worker.delivery.destinations import DestinationsFile
from worker.logging import get_logger
from worker.relay.publish import publish
from worker.settings import Settings

log = get_logger(__name__)

BATCH = 50
"""Most deliveries published in one pass."""
QUEUE_LIMIT = 200
"""While so many messages of one urgency wait none is added to them: the rows keep the rest."""
CLEANUP_INTERVAL_S = 60.0
"""Between two searches for requests for storage commitment of deliveries that have ended."""


class DeliveryBroker(Protocol):
    """What this step needs of Redis."""

    def deliveries_waiting(self) -> Mapping[Urgency, int]:
        """Count the messages in the queue of deliveries."""

    def publish_delivery(self, delivery_key: str, urgency: Urgency) -> None:
        """Send a message: the delivery's key and nothing else."""


class DeliveryRelay:
    """One relay's part in deliveries."""

    def __init__(self, settings: Settings, database: Database, broker: DeliveryBroker) -> None:
        self._settings = settings
        self._database = database
        self._broker = broker
        self._file = DestinationsFile(settings, database)
        self._clean_up_at = 0.0

    def run_once(self) -> int:
        """Return how many were published. Never raises."""
        try:
            self._file.follow()
            self._sweep()
            published = self._publish()
            self._clean_up()
        except Exception as error:  # noqa: BLE001  no study may wait for this
            log.warning("deliveries_not_published", error_type=type(error).__qualname__)
            return 0
        return published

    def _sweep(self) -> None:
        with self._database.transaction() as session:
            swept = sweep_deliveries(session)
        for claim in swept:
            log.warning("delivery_ran_out", delivery_key=claim.key, action=claim.action.value)

    def _clean_up(self) -> None:
        if time.monotonic() < self._clean_up_at:
            return
        self._clean_up_at = time.monotonic() + CLEANUP_INTERVAL_S
        with self._database.transaction() as session:
            delete_obsolete_requests(session)

    def _publish(self) -> int:
        waiting = self._broker.deliveries_waiting()
        with self._database.reading() as session:
            found = due_for_delivery(
                session,
                limit=BATCH,
                requeue_after_s=self._settings.requeue_after_s,
                in_queue=QUEUE_LIMIT,
                waiting=waiting,
            )
        due = [(delivery.delivery_key, delivery.urgency) for delivery in found]
        return publish(
            self._database, due, self._broker.publish_delivery, mark_deliveries_published
        )
