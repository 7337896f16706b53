"""How a delivery ends; after a failure the destination waits, the result waits, or a person acts."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from sqlalchemy.orm import Session

from db.deliveries.claims import park_delivery, postpone_delivery
from db.deliveries.commitment import postpone_commitment
from db.deliveries.destinations import postpone_probe, record_failure, record_success
from db.ledger.conditions import end_condition, note_condition
from db.values import Backoff, Failure
from db.values.deliveries import CommitmentRequest, DeliveryClaim
from db.vocabulary.enums import FailureKind
from worker.delivery.errors import DestinationFailed
from worker.delivery.runtime import DeliveryRuntime
from worker.failure_kinds import PASSING, classify
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)

REFUSAL_FACTOR = 30
"""A refusal waits so many times longer than an outage: mending it takes a person."""
REFUSED_BY_DESTINATION = {"DESTINATION_REFUSES_RESULT", "DESTINATION_LACKS_SOP_CLASS"}
"""Refusals with which it shows that it is there; any other is raised before it is asked."""
FILES = "files of results"
"""Subject of the condition that files are missing from which results are rendered."""


class DeliveryEnd(StrEnum):
    """What one message led to."""

    SENT = "sent"
    """The destination has every object, and is asked for no further commitment."""
    ASKED = "asked"
    """The destination was asked again whether it keeps them; its answer comes as a report."""
    DROPPED = "dropped"
    """Not due, claimed by another worker, or its destination is away."""
    SUPERSEDED = "superseded"
    """Before anything was sent a newer result superseded it, or the person was erased."""
    OVERTAKEN = "overtaken"
    """The claim was lost to another attempt."""
    PUT_OFF = "put_off"
    """It is due again later."""
    PARKED = "parked"
    """It waits for a person."""


def backoff_of(settings: Settings) -> Backoff:
    """Return how deliveries are retried: for as many days as it takes."""
    return Backoff(
        base_s=settings.retry_base_s, ceiling_s=settings.delivery_retry_ceiling_s, spread=0.25
    )


def end_destination_condition(session: Session, destination: str) -> None:
    """Record that the destination took something: what was wrong with it is over."""
    record_success(session, destination)
    end_condition(session, _subject(destination))


def settle(claim: DeliveryClaim, error: Exception, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Postpone or park a delivery that failed. Raises StaleClaim, with nothing written."""
    failure = classify(error)
    if failure.kind is FailureKind.BUG:
        reference = log_traceback(error, log, code=failure.code)
        failure = replace(failure, traceback_reference=reference)

    def write(session: Session) -> DeliveryEnd:
        if isinstance(error, DestinationFailed):
            return _destination_failed(session, claim, error, failure, runtime.settings)
        if failure.kind in PASSING:
            return _passing(session, claim, failure, runtime.settings)
        return _refused(session, claim, failure, runtime.settings)

    end = in_transaction(runtime.database, write)
    log.warning("delivery_failed", code=failure.code, destination=claim.destination, ends=end.value)
    return end


def settle_request(request: CommitmentRequest, error: Exception, runtime: DeliveryRuntime) -> None:
    """Repeat later a request for storage commitment that the destination did not take."""
    failure, name = classify(error), request.destination
    backoff = backoff_of(runtime.settings)
    delay_s = backoff.delay_s(request.failures, factor=REFUSAL_FACTOR)

    def write(session: Session) -> None:
        postpone_commitment(session, request.transaction_uid, failure, delay_s=delay_s)
        if isinstance(error, DestinationFailed):
            _count_failure(session, name, failure, backoff)
        else:
            record_success(session, name)
            note_condition(session, _request_subject(name), failure.code, failure.sentence)

    in_transaction(runtime.database, write)
    log.warning("commitment_not_asked", code=failure.code, destination=name)


def record_request_taken(session: Session, destination: str) -> None:
    """Record that the destination took a request for storage commitment."""
    end_destination_condition(session, destination)
    end_condition(session, _request_subject(destination))


def _destination_failed(
    session: Session,
    claim: DeliveryClaim,
    error: DestinationFailed,
    failure: Failure,
    settings: Settings,
) -> DeliveryEnd:
    """All its results wait; the next probe is this one, unless this one may be the cause."""
    backoff = backoff_of(settings)
    delay_s = backoff.delay_s(claim.failures) if error.with_this_result else 0.0
    _count_failure(session, claim.destination, failure, backoff)
    postpone_delivery(session, claim, failure, delay_s=delay_s)
    return DeliveryEnd.PUT_OFF


def _count_failure(session: Session, name: str, failure: Failure, backoff: Backoff) -> None:
    """The destination as a whole failed: postpone its next probe, and tell people why."""
    failures = record_failure(session, name)
    postpone_probe(session, name, backoff.delay_s(failures - 1))
    note_condition(session, _subject(name), failure.code, failure.sentence)


def _passing(
    session: Session, claim: DeliveryClaim, failure: Failure, settings: Settings
) -> DeliveryEnd:
    """Something on our side is away for a while; the destination was not at fault."""
    postpone_probe(session, claim.destination, 0)
    postpone_delivery(session, claim, failure, delay_s=backoff_of(settings).delay_s(claim.failures))
    if failure.code == "FILE_MISSING":
        note_condition(session, FILES, failure.code, failure.sentence)
    return DeliveryEnd.PUT_OFF


def _refused(
    session: Session, claim: DeliveryClaim, failure: Failure, settings: Settings
) -> DeliveryEnd:
    """A refusal, or a fault of ours: no other result need wait for it."""
    if failure.code in REFUSED_BY_DESTINATION:
        record_success(session, claim.destination)
    else:
        postpone_probe(session, claim.destination, 0)  # nobody knows yet whether it is back
    if failure.kind is FailureKind.BUG or claim.refusals + 1 >= settings.delivery_refusals:
        park_delivery(session, claim, failure)
        return DeliveryEnd.PARKED
    delay_s = backoff_of(settings).delay_s(claim.refusals, factor=REFUSAL_FACTOR)
    postpone_delivery(session, claim, failure, delay_s=delay_s, refused=True)
    return DeliveryEnd.PUT_OFF


def _subject(destination: str) -> str:
    """Return the subject under which `pneumo status` shows what is wrong with it."""
    return f"destination {destination}"


def _request_subject(destination: str) -> str:
    """Return the subject under which it is shown that it takes results and no requests about them."""
    return f"commitment of {destination}"
