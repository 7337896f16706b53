"""Storage commitment (PS3.4 annex J): the destination confirms that it keeps what it took.

We request it by N-ACTION. The report is an N-EVENT-REPORT, on the same association or, minutes or
hours later, on one that the destination opens to our listener; one function handles both.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sqlalchemy.exc import SQLAlchemyError

from db.deliveries.commitment import record_commitment_report
from db.engine.session import Database
from db.values import Backoff
from db.values.deliveries import CommitmentOutcome, CommitmentRequest, SentObject
from worker.delivery.errors import commitment_not_offered, fails
from worker.errors import Transient
from worker.logging import get_logger
from worker.settings import Settings
from worker.transactions import in_transaction

log = get_logger(__name__)

REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3.2-1)."""
SUCCESS, PROCESSING_FAILURE = 0x0000, 0x0110
"""PS3.7 C.4.1."""
SAME_ASSOCIATION_S = 0.5
"""How long we wait for a report on the same association; a later one comes to the listener."""
REPORT_TIMEOUT_S = 5.0
"""How long the database may keep a destination that reports waiting."""
FILING_FACTOR = 600
"""After "no such object" (0112) a result waits so many times PNEUMO_RETRY_BASE_S: ten minutes. So long
an archive gets to file what it took before it is sent again."""


def new_transaction_uid() -> str:
    """Return a Transaction UID that nobody can guess: who knows it may say that a result is kept."""
    return f"2.25.{uuid.uuid4().int}"


def handlers(settings: Settings, database: Database) -> list[Any]:
    """Return the event handlers with which an association takes a report."""
    return [(evt.EVT_N_EVENT_REPORT, handle_report, [settings, database])]


def send_request(association: Any, request: CommitmentRequest) -> None:
    """Ask the destination to confirm that it keeps these objects.

    Raises Transient COMMITMENT_NOT_OFFERED, COMMITMENT_REFUSED; DestinationFailed.
    """
    name = request.destination
    offered = {UID(str(context.abstract_syntax)) for context in association.accepted_contexts}
    if StorageCommitmentPushModel not in offered:
        raise commitment_not_offered(name)
    try:
        status, _ = association.send_n_action(
            _action_information(request),
            REQUEST_STORAGE_COMMITMENT,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
    except (RuntimeError, ValueError):
        raise fails(name, "it ended the association before storage commitment") from None
    if "Status" not in status:
        raise fails(name, "no answer to the request for storage commitment")
    if status.Status != SUCCESS:
        raise Transient(
            "COMMITMENT_REFUSED",
            f"{name} took a result and refuses the request for storage commitment (status "
            f"{status.Status:04X}). Enter our AE title, host and port there; it is asked again.",
        )


def wait_for_report(association: Any) -> None:
    """Wait for a report on the same association."""
    until = time.monotonic() + SAME_ASSOCIATION_S
    while association.is_established and time.monotonic() < until:
        time.sleep(0.05)


def handle_report(event: Any, settings: Settings, database: Database) -> tuple[int, None]:
    """EVT_N_EVENT_REPORT: record what the destination reports; return the status for it. Never raises."""
    try:
        information = event.event_information
        transaction_uid = str(information.get("TransactionUID", ""))
        kept, failed = _kept(information), _failed(information)
        outcome = in_transaction(
            database,
            lambda session: record_commitment_report(
                session,
                transaction_uid,
                kept,
                failed,
                max_refusals=settings.delivery_refusals,
                backoff=Backoff(
                    base_s=settings.retry_base_s * FILING_FACTOR,
                    ceiling_s=settings.commitment_patience_s,
                ),
            ),
            timeout_s=REPORT_TIMEOUT_S,
        )
    except (SQLAlchemyError, AttributeError, ValueError, TypeError) as error:
        log.warning("commitment_report_failed", error_type=type(error).__qualname__)
        return PROCESSING_FAILURE, None
    # An unknown one was reported before, or requested by somebody else: nothing is to be done.
    write = log.info if outcome is CommitmentOutcome.COMMITTED else log.warning
    write("commitment_reported", outcome=outcome.value, kept=len(kept), failed=len(failed))
    return SUCCESS, None


def _action_information(request: CommitmentRequest) -> Dataset:
    """PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    information.ReferencedSOPSequence = [_reference(sent) for sent in request.objects]
    return information


def _reference(sent: SentObject) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sent.sop_class_uid
    item.ReferencedSOPInstanceUID = sent.sop_instance_uid
    return item


def _kept(information: Dataset) -> list[str]:
    """PS3.4 table J.3-2."""
    return [str(i.ReferencedSOPInstanceUID) for i in information.get("ReferencedSOPSequence") or []]


def _failed(information: Dataset) -> dict[str, int]:
    return {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
        for item in information.get("FailedSOPSequence") or []
    }
