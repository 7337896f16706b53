"""What is done with a study whose attempt failed: it is retried, released or parked."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from sqlalchemy.orm import Session

from db.engine.session import Database
from db.studies.claims import release
from db.studies.results import park, schedule_retry
from db.values import Backoff, Claim, Failure
from db.vocabulary.errors import StaleClaim
from worker.errors import Postponed
from worker.failure_kinds import DEVICE_FAILED, PASSING, classify
from worker.logging import get_logger, log_traceback
from worker.pipeline.process_exit import exit_process
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)


class FailureOutcome(StrEnum):
    """How a failed attempt was settled."""

    RETRY = "retry"
    """The study is due again later."""
    PARKED = "parked"
    """The study waits for a person."""
    OVERTAKEN = "overtaken"
    """The claim was lost: the attempt that has the study now settles it."""


def handle_failure(
    claimed: Claim, error: Exception, database: Database, settings: Settings
) -> FailureOutcome:
    """Retry or park the study of a failed attempt; if the database is away, the lease settles it."""
    try:
        if isinstance(error, Postponed):  # no failure, and no trace of one: the study only waits
            wait_s = error.wait_s
            in_transaction(database, lambda session: release(session, claimed, delay_s=wait_s))
            log.debug("handed_back", code=error.code)
            return FailureOutcome.RETRY
        failure = classify(error)
        outcome = _settle(claimed, failure, error, database, settings)
    except StaleClaim:
        return FailureOutcome.OVERTAKEN
    log.warning("attempt_failed", code=failure.code, kind=failure.kind.value, ends=outcome.value)
    if failure.code == DEVICE_FAILED:
        exit_process("device_failed")  # every later study in this process would fail the same way
    return outcome


def backoff_of(settings: Settings) -> Backoff:
    """Return how studies are retried; +-50 %, or those that failed together come back together."""
    return Backoff(
        base_s=settings.retry_base_s,
        ceiling_s=settings.retry_ceiling_s,
        spread=0.5,
        max_retries=settings.max_retries,
    )


def _settle(
    claimed: Claim, failure: Failure, error: Exception, database: Database, settings: Settings
) -> FailureOutcome:
    backoff = backoff_of(settings)
    delay_s = failure.retry_after_s
    reference = None
    if delay_s is None:  # else nothing of ours failed, and it may be reported every minute
        reference = log_traceback(error, log, code=failure.code, attempt=claimed.token)
        if failure.kind in PASSING and not backoff.is_exhausted(claimed.retries):
            delay_s = backoff.delay_s(claimed.retries)

    def write(session: Session) -> FailureOutcome:
        if delay_s is None:
            park(session, claimed, replace(failure, traceback_reference=reference))
            return FailureOutcome.PARKED
        schedule_retry(session, claimed, failure, delay_s=delay_s)
        return FailureOutcome.RETRY

    return in_transaction(database, write)
