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

from db.enums import Lane
from db.session import Database
from worker.active_model import ActiveModel, load_active_model
from worker.heartbeat import Heartbeat
from worker.imaging.decode_budget import PROCESS_BUDGET, DecodeLimits
from worker.intake.opening import storage_to_fetch_to
from worker.leases import LeaseKeeper
from worker.own_disk import DiskKeeper
from worker.pacs.retrieving import Retriever
from worker.settings import Settings, settings


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
    """Everything `worker.pipeline` needs, with one `close`."""

    def __init__(self, site: Settings, identity: WorkerIdentity) -> None:
        self.pid = os.getpid()
        self.site = site
        self.identity = identity
        PROCESS_BUDGET.limit(
            DecodeLimits.of_megabytes(frame=site.decode_frame_mb, process=site.decode_memory_mb)
        )
        self.database = Database(site.database_url)
        self.storage = storage_to_fetch_to(site, self.database)
        self.retriever = Retriever(site, self.database, self.storage)
        self.model: ActiveModel = load_active_model(self.database, site)
        self.leases = LeaseKeeper(
            self.database,
            lease_s=site.lease_s,
            renewal_s=site.lease_renewal_s,
            limit_s=site.study_limit_s,
        )
        self.disk_keeper = DiskKeeper(site, self.database, self.retriever.disk)
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
            _runtime = Runtime(settings(), WorkerIdentity.new(_lanes))
        return _runtime


def close_runtime() -> None:
    """Close this process's runtime if it has one."""
    global _runtime  # noqa: PLW0603  one process, one worker
    with _making:
        if _runtime is not None and _runtime.pid == os.getpid():
            _runtime.close()
        _runtime = None
