"""What becomes of a study whose attempt failed: a table from error to kind, and one decision."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.engine.session import is_transient
from db.studies.claims import release
from db.studies.results import park, schedule_retry
from db.values import Claim
from db.vocabulary.enums import FailureKind
from db.vocabulary.errors import StaleClaim
from worker.errors import Away, ErrorKind, Later, PneumoError
from worker.logging import get_logger, keep_traceback
from worker.pipeline.process_exit import leave
from worker.transactions import in_transaction

if TYPE_CHECKING:
    from worker.pipeline.runtime import Runtime

log = get_logger(__name__)


class Settlement(StrEnum):
    """How a failed attempt was settled."""

    RETRY = "retry"
    """Due again later."""
    PARKED = "parked"
    """Waits for a person."""
    OVERTAKEN = "overtaken"
    """The claim was no longer ours: whoever took over settles it."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure in our own words; what the exception itself says may quote a dataset."""

    kind: ErrorKind
    code: str
    sentence: str
    waits_s: float | None = None
    """Tried again after so long, however often; None: by the retry policy."""


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


def settle_failure(claimed: Claim, error: Exception, runtime: Runtime) -> Settlement:
    """Retry or park the study of a failed attempt; if the database is away, the lease settles it."""
    if isinstance(error, Later):
        return _hand_back(claimed, error, runtime)
    failure = classify(error)
    settings = runtime.settings
    policy = RetryPolicy(
        base_s=settings.retry_base_s,
        ceiling_s=settings.retry_ceiling_s,
        max_retries=settings.max_retries,
    )
    delay_s = None
    if failure.waits_s is not None:
        delay_s = failure.waits_s
    elif failure.kind in (ErrorKind.TRANSIENT, ErrorKind.RESOURCE):
        delay_s = policy.delay_s(claimed.retries, jitter=random.random())  # noqa: S311
    reference = (
        keep_traceback(error, log, code=failure.code, attempt=claimed.token)
        if failure.waits_s is None  # nothing of ours failed, and it may be said every minute
        else ""
    )
    try:
        in_transaction(
            runtime.database,
            lambda session: (
                _park(session, claimed, failure, reference)
                if delay_s is None
                else _retry(session, claimed, failure, delay_s)
            ),
        )
    except StaleClaim:
        return Settlement.OVERTAKEN
    settlement = Settlement.PARKED if delay_s is None else Settlement.RETRY
    log.warning("attempt_failed", code=failure.code, kind=failure.kind.value, ends=settlement.value)
    if failure.code == DEVICE_FAILED:
        leave("device_failed")  # every later study in this process would fail the same way
    return settlement


def _hand_back(claimed: Claim, error: Later, runtime: Runtime) -> Settlement:
    """No failure, and no trace of one: the study only waits."""
    try:
        in_transaction(
            runtime.database, lambda session: release(session, claimed, delay_s=error.wait_s)
        )
    except StaleClaim:
        return Settlement.OVERTAKEN
    log.debug("handed_back", code=error.code)
    return Settlement.RETRY


def classify(error: BaseException) -> Failure:
    """The error's kind, code and sentence by the first row of the table that fits."""
    if isinstance(error, PneumoError):
        waits_s = error.wait_s if isinstance(error, Away) else None
        return Failure(kind=error.kind, code=error.code, sentence=error.sentence, waits_s=waits_s)
    for fits, failure in _TABLE:
        if fits(error):
            return failure
    return Failure(
        kind=ErrorKind.BUG,
        code="BUG",
        sentence=f"An unforeseen {type(error).__qualname__} was raised. Look up the reference in "
        "the worker's log, mend the cause, then run `pneumo retry`.",
    )


DEVICE_FAILED = "DEVICE_FAILED"
OUT_OF_MEMORY = Failure(
    kind=ErrorKind.RESOURCE,
    code="OUT_OF_MEMORY",
    sentence="Memory ran out even for a single frame; the study is tried again later. "
    "Lower PNEUMO_MAX_BATCH or the worker's -c if this repeats.",
)

_TABLE = (
    (
        lambda e: isinstance(e, SQLAlchemyError) and is_transient(e),
        Failure(
            kind=ErrorKind.TRANSIENT,
            code="DATABASE_AWAY",
            sentence="The database did not answer; the study is tried again by itself.",
        ),
    ),
    (
        lambda e: isinstance(e, torch.OutOfMemoryError | MemoryError),
        OUT_OF_MEMORY,
    ),
    (
        # torch says this of the CPU's memory in a plain RuntimeError
        lambda e: isinstance(e, RuntimeError) and "allocate memory" in str(e),
        OUT_OF_MEMORY,
    ),
    (
        lambda e: isinstance(e, torch.AcceleratorError),
        Failure(
            kind=ErrorKind.RESOURCE,
            code=DEVICE_FAILED,
            sentence="The accelerator reported an error after which its process cannot use it any "
            "more. The worker starts afresh and the study is tried again; look at the device "
            "(nvidia-smi, the system log) if this repeats.",
        ),
    ),
    (
        lambda e: isinstance(e, OSError),
        Failure(
            kind=ErrorKind.TRANSIENT,
            code="FILE_SYSTEM_ERROR",
            sentence="A file could not be read from the intake folder; the study is tried again "
            "by itself. Check the disk if this repeats.",
        ),
    ),
)


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
        counts=failure.waits_s is None,
    )
