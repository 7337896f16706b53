"""A site whose model is small work, with finished studies and results to deliver."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import update

from db.deliveries.publication import due_for_delivery
from db.engine.clock import now
from db.ledger.conditions import active_conditions
from db.models import ResultDelivery
from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import (
    accept_files,
    query_rows,
)
from worker.delivery.destinations import keep_destinations
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.send import DeliveryEnd, deliver
from worker.pipeline.process_study import process_study
from worker.pipeline.runtime import Runtime
from worker.settings import Settings

_numbers = count(1)


@dataclass
class DeliveringSite:
    """One site as a test drives it."""

    runtime: DeliveryRuntime
    predicting: Runtime

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    def destinations(self, *tables: str) -> None:
        """Write the file of peers, and let it count."""
        self.settings.peers.write_text("\n".join(tables))
        keep_destinations(self.settings, self.runtime.database)

    def study(self, folder: Path, *, images: int = 1, uid: str | None = None, **values) -> str:
        """A finished study; its key."""
        number = next(_numbers)
        uid = uid or f"1.2.826.0.1.3680043.8.498.77.{number}"
        paths = [
            write_instance(
                folder / f"{number}-{image}.dcm",
                study_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                sop_instance_uid=f"{uid}.1.{number}.{image}",
                seed=number * 10 + image,
                **values,
            )
            for image in range(1, images + 1)
        ]
        key = accept_files(self.predicting, *paths)
        process_study(key, self.predicting)
        return key

    def due(self) -> list[str]:
        with self.runtime.database.reading() as session:
            found = due_for_delivery(session, limit=50, requeue_after_s=0.001)
        return [delivery.delivery_key for delivery in found]

    def deliver(self) -> list[DeliveryEnd]:
        """Deliver once what is due now, which includes what was postponed a moment ago."""
        time.sleep(0.01)
        return [deliver(key, self.runtime) for key in self.due()]

    def make_due(self, key: str) -> None:
        """As if its time had come."""
        with self.runtime.database.transaction() as session:
            session.execute(
                update(ResultDelivery)
                .where(ResultDelivery.study_key == key)
                .values(due_at=now(session) - timedelta(seconds=1))
            )

    def deliveries(self, key: str) -> list[dict]:
        return query_rows(
            self.predicting,
            "SELECT * FROM result_delivery WHERE study_key = :key ORDER BY id",
            key=key,
        )

    def states(self, key: str) -> list[str]:
        return [row["state"] for row in self.deliveries(key)]

    def conditions(self) -> dict[str, str]:
        """What is wrong: subject and code."""
        with self.runtime.database.reading() as session:
            return {c.subject: c.code for c in active_conditions(session)}

    def wrong(self, destination: Any) -> str | None:
        """The code of what is wrong with this destination."""
        return self.conditions().get(f"destination {destination.name}")
