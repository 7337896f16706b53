"""What a worker process holds while it lives: database, model, leases, heartbeat.

There is one `Runtime` in a process, made where studies are processed: never before a fork, since a
CUDA context and a database connection do not survive one.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from db.engine.session import Database
from db.vocabulary.enums import Lane
from worker.archive.retrieve.retriever import Retriever
from worker.inference.active_model import ActiveModel, load_active_model
from worker.maintenance.disk_keeper import DiskKeeper
from worker.pipeline.heartbeat import Heartbeat
from worker.pipeline.leases import LeaseKeeper
from worker.settings import Settings, current_settings
from worker.storage.opening import storage_to_fetch_to


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """How this process is named in rows and logs."""

    name: str
    """Opaque and unique, e.g. `w-3f9c2a81d0b4`; never a host name."""
    lanes: tuple[Lane, ...]
    """What it consumes; it claims nothing that goes through another lane."""

    @classmethod
    def new(cls, lanes: Iterable[Lane]) -> WorkerIdentity:
        """A fresh name for this process."""
        return cls(name=f"w-{uuid.uuid4().hex[:12]}", lanes=tuple(lanes))


class Runtime:
    """Everything `worker.pipeline.process_study` needs, with one `close`."""

    def __init__(self, settings: Settings, identity: WorkerIdentity) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.identity = identity
        self.database = Database(settings.database_url)
        self.storage = storage_to_fetch_to(settings, self.database)
        self.retriever = Retriever(settings, self.database, self.storage)
        self.model: ActiveModel = load_active_model(self.database, settings)
        self.leases = LeaseKeeper(
            self.database,
            lease_s=settings.lease_s,
            renewal_s=settings.lease_renewal_s,
            limit_s=settings.study_limit_s,
        )
        self.disk_keeper = DiskKeeper(settings, self.database, self.retriever.disk)
        self.heartbeat = Heartbeat(self)

    def close(self) -> None:
        """Finish what runs, give back threads and connections."""
        self.heartbeat.close()
        self.disk_keeper.close()
        self.leases.close()
        self.model.close()
        self.database.dispose()


_runtime: Runtime | None = None
_making = threading.Lock()
_lanes: tuple[Lane, ...] = (Lane.STAT, Lane.ROUTINE)


def announce_lanes(lanes: Iterable[Lane]) -> None:
    """Say, before the runtime is made, which lanes this process consumes."""
    global _lanes  # noqa: PLW0603  one process, one worker
    _lanes = tuple(lanes)


def announced_lanes() -> tuple[Lane, ...]:
    """The lanes that this process consumes; none in a worker that delivers."""
    return _lanes


def runtime() -> Runtime:
    """This process's runtime, made at the first call; a forked child makes its own."""
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
