"""Transactions that wait while the database is away, so that finished work is not thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from db.engine.session import Database, is_transient
from worker.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")


def in_transaction(
    database: Database, work: Callable[[Session], Result], *, timeout_s: float = 30.0
) -> Result:
    """Run `work` in one transaction; while the database is away, try again, with growing pauses.

    `work` may run several times, so it must only touch the session. An error that waiting does not mend
    (a constraint, a stale claim, a bug) is raised at once; after `timeout_s` the last transient
    error is raised as it is.
    """

    def once() -> Result:
        with database.transaction() as session:
            return work(session)

    retrying = Retrying(
        retry=retry_if_exception(_is_away),
        wait=wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1),
        stop=stop_after_delay(timeout_s),
        before_sleep=lambda state: log.warning("database_away", tries=state.attempt_number),
        reraise=True,
    )
    return retrying(once)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, SQLAlchemyError) and is_transient(error)
