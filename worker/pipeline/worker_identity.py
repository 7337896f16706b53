"""How a worker process is named in rows and logs, and which lanes it consumes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from db.vocabulary.enums import Lane


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
