"""What becomes of a study whose attempt failed: it is retried, handed back or parked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from db.engine.session import Database
from db.studies.claims import release
from db.studies.results import park, schedule_retry
from db.values import Claim
from db.vocabulary.enums import FailureKind
from db.vocabulary.errors import StaleClaim
from worker.errors import ErrorKind, Postponed
from worker.failure_kinds import DEVICE_FAILED, Failure, classify
from worker.logging import get_logger, log_traceback
from worker.pipeline.process_exit import exit_process
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)


class FailureOutcome(StrEnum):
    """How a failed attempt was settled."""

    RETRY = "retry"
    """Due again later."""
    PARKED = "parked"
    """Waits for a person."""
    OVERTAKEN = "overtaken"
    """The claim was no longer ours: whoever took over settles it."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a transient or resource failure is tried again."""

    base_s: float
    """First delay; doubled with each retry."""
    ceiling_s: float
    """No delay before jitter is longer."""
    max_retries: int
    """So many retries, then the study is parked."""

    def delay_s(self, retries: int, *, jitter: float) -> float | None:
        """Seconds until retry number `retries + 1`, or None when there have been enough.

        `jitter` in [0, 1] spreads the delay over +-50 %, so that studies that failed together do
        not come back together.
        """
        if retries >= self.max_retries:
            return None
        return min(self.base_s * 2.0**retries, self.ceiling_s) * (0.5 + jitter)


def handle_failure(
    claimed: Claim, error: Exception, database: Database, settings: Settings
) -> FailureOutcome:
    """Retry or park the study of a failed attempt; if the database is away, the lease settles it."""
    if isinstance(error, Postponed):
        return _release(claimed, error, database)
    failure = classify(error)
    policy = RetryPolicy(
        base_s=settings.retry_base_s,
        ceiling_s=settings.retry_ceiling_s,
        max_retries=settings.max_retries,
    )
    delay_s = None
    if failure.retry_after_s is not None:
        delay_s = failure.retry_after_s
    elif failure.kind in (ErrorKind.TRANSIENT, ErrorKind.RESOURCE):
        delay_s = policy.delay_s(claimed.retries, jitter=random.random())  # noqa: S311
    reference = (
        log_traceback(error, log, code=failure.code, attempt=claimed.token)
        if failure.retry_after_s is None  # nothing of ours failed, and it may be said every minute
        else ""
    )
    try:
        in_transaction(
            database,
            lambda session: (
                _park(session, claimed, failure, reference)
                if delay_s is None
                else _retry(session, claimed, failure, delay_s)
            ),
        )
    except StaleClaim:
        return FailureOutcome.OVERTAKEN
    settlement = FailureOutcome.PARKED if delay_s is None else FailureOutcome.RETRY
    log.warning("attempt_failed", code=failure.code, kind=failure.kind.value, ends=settlement.value)
    if failure.code == DEVICE_FAILED:
        exit_process("device_failed")  # every later study in this process would fail the same way
    return settlement


def _release(claimed: Claim, error: Postponed, database: Database) -> FailureOutcome:
    """No failure, and no trace of one: the study only waits."""
    try:
        in_transaction(database, lambda session: release(session, claimed, delay_s=error.wait_s))
    except StaleClaim:
        return FailureOutcome.OVERTAKEN
    log.debug("handed_back", code=error.code)
    return FailureOutcome.RETRY


def _park(session: Session, claimed: Claim, failure: Failure, reference: str) -> None:
    park(
        session,
        claimed,
        code=failure.code,
        sentence=failure.sentence,
        kind=FailureKind(failure.kind.value),
        traceback_reference=reference,
    )


def _retry(session: Session, claimed: Claim, failure: Failure, delay_s: float) -> None:
    schedule_retry(
        session,
        claimed,
        code=failure.code,
        sentence=failure.sentence,
        kind=FailureKind(failure.kind.value),
        delay_s=delay_s,
        counts=failure.retry_after_s is None,
    )
