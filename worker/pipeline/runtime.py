"""The resources of a worker process: database, model, leases, heartbeat.

A process has one `Runtime`, created where studies are processed and never before a fork, since a CUDA
context and a database connection do not survive one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from db.engine.session import Database
from db.vocabulary.enums import Lane
from worker.archive.retrieve.retriever import Retriever
from worker.imaging.decode_budget import PROCESS_BUDGET, DecodeLimits
from worker.inference.active_model import ActiveModel
from worker.inference.model_holder import ModelHolder
from worker.maintenance.housekeeping import DiskMaintenance
from worker.pipeline.heartbeat import Heartbeat
from worker.pipeline.leases import LeaseKeeper
from worker.pipeline.worker_identity import WorkerIdentity
from worker.settings import Settings, current_settings
from worker.storage.storage_factory import retrieve_storage


class Runtime:
    """Everything that `worker.pipeline.process_study` needs, with one `close`."""

    def __init__(self, settings: Settings, identity: WorkerIdentity) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.identity = identity
        PROCESS_BUDGET.limit(
            DecodeLimits.of_megabytes(
                frame=settings.decode_frame_mb, process=settings.decode_memory_mb
            )
        )
        self.database = Database(settings.database_url)
        self.storage = retrieve_storage(settings, self.database)
        self.retriever = Retriever(settings, self.database, self.storage)
        self.models = ModelHolder(self.database, settings)
        self.leases = LeaseKeeper(
            self.database,
            lease_s=settings.lease_s,
            renewal_s=settings.lease_renewal_s,
            limit_s=settings.study_limit_s,
        )
        self.disk_keeper = DiskMaintenance(settings, self.database, self.retriever.disk)
        self.heartbeat = Heartbeat(self.database, identity, self.models, settings.alive_dir)

    @property
    def model(self) -> ActiveModel:
        """The model that is loaded now; one model predicts a study from beginning to end."""
        return self.models.current

    def close(self) -> None:
        """Finish running work, and end threads and connections."""
        self.heartbeat.close()
        self.disk_keeper.close()
        self.leases.close()
        self.models.close()
        self.database.dispose()


_runtime: Runtime | None = None
_making = threading.Lock()
_lanes: tuple[Lane, ...] = (Lane.STAT, Lane.ROUTINE)


def announce_lanes(lanes: Iterable[Lane]) -> None:
    """Set the lanes that this process consumes, before its runtime is created."""
    global _lanes  # noqa: PLW0603  one process, one worker
    _lanes = tuple(lanes)


def announced_lanes() -> tuple[Lane, ...]:
    """Return the lanes that this process consumes; none in a delivery worker."""
    return _lanes


def runtime() -> Runtime:
    """Return this process's runtime, created at the first call; a forked child creates its own."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = Runtime(current_settings(), WorkerIdentity.new(_lanes))
        return _runtime


def close_runtime() -> None:
    """Close this process's runtime if it has one."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is not None and _runtime.pid == os.getpid():
            _runtime.close()
        _runtime = None
