"""The relay's step for deliveries: those of dead workers come back, those that are due are published.

It goes last in a turn, is short, and keeps what goes wrong to itself: no study waits for a delivery.
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
from worker.settings import Settings

log = get_logger(__name__)

BATCH = 50
"""Most deliveries published in one turn."""
QUEUE_LIMIT = 200
"""With so many messages of one urgency waiting none is added to them: the rows keep the rest."""

FORGET_INTERVAL_S = 60.0
"""Between two looks for questions about storage commitment that nobody waits for any more."""


class DeliveryBroker(Protocol):
    """What this needs of Redis."""

    def deliveries_waiting(self) -> Mapping[Urgency, int]:
        """Messages in the queue of deliveries."""

    def publish_delivery(self, delivery_key: str, urgency: Urgency) -> None:
        """One message: the delivery's key and nothing else."""


class DeliveryRelay:
    """One relay's part in deliveries."""

    def __init__(self, settings: Settings, database: Database, broker: DeliveryBroker) -> None:
        self._settings = settings
        self._database = database
        self._broker = broker
        self._file = DestinationsFile(settings, database)
        self._forget_at = 0.0

    def run_once(self) -> int:
        """How many were published. Never raises."""
        try:
            self._file.follow()
            self._sweep()
            published = self._publish()
            self._forget()
        except Exception as error:  # noqa: BLE001  no study may wait for this
            log.warning("deliveries_not_published", error_type=type(error).__qualname__)
            return 0
        return published

    def _sweep(self) -> None:
        with self._database.transaction() as session:
            swept = sweep_deliveries(session)
        for delivery_key, what in swept:
            log.warning("delivery_ran_out", delivery_key=delivery_key, action=what.value)

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_INTERVAL_S
        with self._database.transaction() as session:
            delete_obsolete_requests(session)

    def _publish(self) -> int:
        """Publish, then mark, as for studies: a death in between makes a second message."""
        waiting = self._broker.deliveries_waiting()
        with self._database.reading() as session:
            due = due_for_delivery(
                session,
                limit=BATCH,
                requeue_after_s=self._settings.requeue_after_s,
                in_queue=QUEUE_LIMIT,
                waiting=waiting,
            )
        for delivery in due:
            self._broker.publish_delivery(delivery.delivery_key, delivery.urgency)
        if due:
            with self._database.transaction() as session:
                mark_deliveries_published(session, [delivery.delivery_key for delivery in due])
        return len(due)
