"""How many foreign messages this process dropped, until a heartbeat writes it down."""

from __future__ import annotations

import threading

from sqlalchemy.orm import Session

from db.ledger.conditions import note_condition
from worker.logging import get_logger

log = get_logger(__name__)

SUBJECT = "messages in the broker"
"""Under which subject `pneumo status` shows it."""
CODE = "FOREIGN_MESSAGES"


class DroppedMessages:
    """A count that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, queue: str, reason: str) -> None:
        """Count one message. `reason`: one of a few fixed words; nothing of a message is logged."""
        with self._lock:
            self._count += 1
        log.warning("foreign_message_dropped", queue=queue, reason=reason)

    def note(self, session: Session) -> None:
        """Write a condition if something was dropped since the last call.

        The count is lost if the caller's transaction fails; the next message raises it again.
        """
        with self._lock:
            count, self._count = self._count, 0
        if count:
            note_condition(session, SUBJECT, CODE, _sentence(count))


def _sentence(count: int) -> str:
    noun = "message that has" if count == 1 else "messages that have"
    return (
        f"A worker dropped {count} {noun} not our form. Nothing of ours is lost; somebody else "
        "writes into our queues. Give the broker a password, and see docs/operators.md."
    )


DROPPED = DroppedMessages()
"""This process's count."""
