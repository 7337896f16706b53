"""What becomes of a delivery that failed: the destination waits, the result waits, or a person does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from db.deliveries.claims import park_delivery, postpone_delivery
from db.deliveries.commitment import postpone_commitment
from db.deliveries.destinations import postpone_probe, record_failure, record_success
from db.ledger.conditions import end_condition, note_condition
from db.values.deliveries import DeliveryClaim
from db.vocabulary.enums import FailureKind
from worker.delivery.errors import DestinationFailed
from worker.delivery.runtime import DeliveryRuntime
from worker.errors import ErrorKind
from worker.failure_kinds import Failure, classify
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)

REFUSAL_PAUSES = 30
"""A refusal waits so many times longer than an outage: mending it takes a person."""
SAID_BY_DESTINATION = {"DESTINATION_REFUSES_RESULT", "DESTINATION_LACKS_SOP_CLASS"}
"""Refusals with which it shows that it is there; any other comes about before it is asked."""
FILES = "files of results"
"""Under which subject it stands that files are missing from which results are made."""


class DeliveryFailure(StrEnum):
    """How a failed delivery was settled."""

    PUT_OFF = "put_off"
    """Due again later."""
    PARKED = "parked"
    """Waits for a person."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Growing pauses, for as many days as it takes."""

    base_s: float
    ceiling_s: float

    @classmethod
    def of(cls, settings: Settings) -> Backoff:
        """As the site has it."""
        return cls(base_s=settings.retry_base_s, ceiling_s=settings.delivery_retry_ceiling_s)

    def pause_s(self, failures: int, *, times: float = 1.0, jitter: float | None = None) -> float:
        """Seconds after so many failures in a row (0, 1, ...), spread over +-25 %.

        `jitter` in [0, 1]; None: any.
        """
        spread = random.random() if jitter is None else jitter  # noqa: S311
        # Bounded before it is raised: days of failures would overflow.
        grown = self.base_s * times * 2.0 ** min(failures, 30)
        return min(grown, self.ceiling_s) * (0.75 + spread / 2)


def condition_of(destination: str) -> str:
    """Under which subject `pneumo status` shows it."""
    return f"destination {destination}"


def commitment_condition_of(destination: str) -> str:
    """Under which subject it stands that it takes results and cannot be asked to keep them."""
    return f"commitment of {destination}"


def note_asked(session: Session, destination: str) -> None:
    """The destination took the question whether it keeps a result."""
    note_all_well(session, destination)
    end_condition(session, commitment_condition_of(destination))


def settle(claim: DeliveryClaim, error: Exception, runtime: DeliveryRuntime) -> DeliveryFailure:
    """Put off or park a delivery that failed. Raises StaleClaim, with nothing written."""
    failure = classify(error)
    backoff = Backoff.of(runtime.settings)

    def write(session: Session) -> DeliveryFailure:
        if isinstance(error, DestinationFailed):
            return _destination_failed(session, claim, error, backoff)
        if failure.kind in (ErrorKind.TRANSIENT, ErrorKind.RESOURCE):
            postpone_probe(session, claim.destination, 0)  # it was not to blame
            _put_off(session, claim, failure, backoff.pause_s(claim.failures))
            if failure.code == "FILE_MISSING":
                note_condition(session, FILES, failure.code, failure.sentence)
            return DeliveryFailure.PUT_OFF
        return _refused(session, claim, failure, backoff, runtime.settings, reference)

    reference = log_traceback(error, log, code=failure.code) if _is_bug(failure) else None
    settled = in_transaction(runtime.database, write)
    log.warning(
        "delivery_failed", code=failure.code, destination=claim.destination, ends=settled.value
    )
    return settled


def settle_commitment_failure(
    transaction_uid: str,
    destination: str,
    error: Exception,
    failures: int,
    runtime: DeliveryRuntime,
) -> None:
    """The destination could not be asked whether it keeps a result: it is asked again later."""
    failure = classify(error)
    backoff = Backoff.of(runtime.settings)
    pause_s = backoff.pause_s(failures, times=REFUSAL_PAUSES)

    def write(session: Session) -> None:
        postpone_commitment(
            session, transaction_uid, code=failure.code, sentence=failure.sentence, delay_s=pause_s
        )
        if isinstance(error, DestinationFailed):
            failed = record_failure(session, destination)
            postpone_probe(session, destination, backoff.pause_s(failed - 1))
            subject = condition_of(destination)
        else:
            record_success(session, destination)
            subject = commitment_condition_of(destination)
        note_condition(session, subject, failure.code, failure.sentence)

    in_transaction(runtime.database, write)
    log.warning("commitment_not_asked", code=failure.code, destination=destination)


def note_all_well(session: Session, destination: str) -> None:
    """The destination took something: what was wrong with it is over."""
    record_success(session, destination)
    end_condition(session, condition_of(destination))


def _destination_failed(
    session: Session, claim: DeliveryClaim, error: DestinationFailed, backoff: Backoff
) -> DeliveryFailure:
    """All its results wait; the next probe is this one, unless this one may be the cause."""
    failures = record_failure(session, claim.destination)
    postpone_probe(session, claim.destination, backoff.pause_s(failures - 1))
    own_pause_s = backoff.pause_s(claim.failures) if error.with_this_result else 0.0
    _put_off(session, claim, classify(error), own_pause_s)
    note_condition(session, condition_of(claim.destination), error.code, error.sentence)
    return DeliveryFailure.PUT_OFF


def _refused(
    session: Session,
    claim: DeliveryClaim,
    failure: Failure,
    backoff: Backoff,
    settings: Settings,
    reference: str | None,
) -> DeliveryFailure:
    """A refusal, or a fault of ours: no other result need wait for it."""
    if failure.code in SAID_BY_DESTINATION:
        record_success(session, claim.destination)
    else:
        postpone_probe(session, claim.destination, 0)  # nobody knows yet whether it is back
    if _is_bug(failure) or claim.refusals + 1 >= settings.delivery_refusals:
        park_delivery(
            session,
            claim,
            code=failure.code,
            sentence=failure.sentence,
            kind=FailureKind(failure.kind.value),
            traceback_reference=reference,
        )
        return DeliveryFailure.PARKED
    pause_s = backoff.pause_s(claim.refusals, times=REFUSAL_PAUSES)
    _put_off(session, claim, failure, pause_s, refused=True)
    return DeliveryFailure.PUT_OFF


def _put_off(
    session: Session,
    claim: DeliveryClaim,
    failure: Failure,
    delay_s: float,
    *,
    refused: bool = False,
) -> None:
    postpone_delivery(
        session,
        claim,
        code=failure.code,
        sentence=failure.sentence,
        kind=FailureKind(failure.kind.value),
        delay_s=delay_s,
        refused=refused,
    )


def _is_bug(failure: Failure) -> bool:
    return failure.kind is ErrorKind.BUG
