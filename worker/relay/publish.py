"""Publish rows that are due, studies and deliveries alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.orm import Session

from db.engine.session import Database

Queue = TypeVar("Queue")


def publish(
    database: Database,
    due: Sequence[tuple[str, Queue]],
    send: Callable[[str, Queue], None],
    mark: Callable[[Session, list[str]], None],
) -> int:
    """Send a message for each key that is due, then mark the rows; return how many.

    In this order: a death in between makes a second message, which the claim drops, and never a
    missing one. The database is not locked while messages are sent.
    """
    for key, queue in due:
        send(key, queue)
    if due:
        with database.transaction() as session:
            mark(session, [key for key, _ in due])
    return len(due)
