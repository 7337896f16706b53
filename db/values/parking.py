"""What is parked, by code: for the person who decides what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ParkedKind(StrEnum):
    """What waits for a person."""

    STUDY = "study"
    """A study that could not be read or predicted."""
    DELIVERY = "delivery"
    """A result that could not be sent to a destination."""


@dataclass(frozen=True, kw_only=True)
class ParkedGroup:
    """All that was parked with one code."""

    kind: ParkedKind
    code: str
    """Stable, UPPER_SNAKE."""
    count: int
    """How many."""
    oldest_at: datetime
    """UTC; when the oldest was parked, of a delivery when its result was enqueued."""
    newest_at: datetime
    """UTC; the same of the newest."""
    example_keys: tuple[str, ...]
    """Study or delivery keys of the newest few."""
    sentence: str
    """What is wrong with the newest, and what to do."""
    traceback_reference: str | None
    """Under which reference the log holds the newest one's traceback."""
