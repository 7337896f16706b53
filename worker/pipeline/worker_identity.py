"""The name of a worker process in rows and logs, and the lanes that it consumes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from db.vocabulary.enums import Lane


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """The identity of this process in rows and logs."""

    name: str
    """Opaque and unique, e.g. `w-3f9c2a81d0b4`; never a host name."""
    lanes: tuple[Lane, ...]
    """Lanes that it consumes; it claims no study that goes through another one."""

    @classmethod
    def new(cls, lanes: Iterable[Lane]) -> WorkerIdentity:
        """Create an identity with a new name."""
        return cls(name=f"w-{uuid.uuid4().hex[:12]}", lanes=tuple(lanes))
