"""Storage commitment (PS3.4 annex J): the destination confirms that it keeps what it took.

We ask by N-ACTION. The answer is an N-EVENT-REPORT, on the same association or, minutes or hours
later, on one that the destination opens to our listener; one function takes both.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sqlalchemy.exc import SQLAlchemyError

from db.deliveries.commitment import record_commitment_report
from db.engine.session import Database
from db.values.deliveries import CommitmentOutcome, SentObject
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
"""How long a report on the same association is waited for; a later one comes to the listener."""
ANSWER_PATIENCE_S = 5.0
FILING = 600
"""After "no such object" (0112) a result waits so many times PNEUMO_RETRY_BASE_S: ten minutes."""


def new_transaction_uid() -> str:
    """A Transaction UID that nobody can guess: whoever knows it may say that a result is kept."""
    return f"2.25.{uuid.uuid4().int}"


def handlers(settings: Settings, database: Database) -> list[Any]:
    """What an association needs to take a report."""
    return [(evt.EVT_N_EVENT_REPORT, take_report, [settings, database])]


def ask(association: Any, name: str, transaction_uid: str, objects: Sequence[SentObject]) -> None:
    """Ask the destination to confirm that it keeps these objects.

    Raises Transient COMMITMENT_NOT_OFFERED, COMMITMENT_REFUSED; DestinationFailed.
    """
    offered = {UID(str(context.abstract_syntax)) for context in association.accepted_contexts}
    if StorageCommitmentPushModel not in offered:
        raise commitment_not_offered(name)
    try:
        status, _ = association.send_n_action(
            _action_information(transaction_uid, objects),
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
            f"{name} took a result and refuses to be asked whether it keeps it (status "
            f"{status.Status:04X}). Enter our AE title, host and port there; it is asked again.",
        )


def wait_for_report(association: Any) -> None:
    """Give a destination that reports on the same association the time to do so."""
    until = time.monotonic() + SAME_ASSOCIATION_S
    while association.is_established and time.monotonic() < until:
        time.sleep(0.05)


def take_report(event: Any, settings: Settings, database: Database) -> tuple[int, None]:
    """EVT_N_EVENT_REPORT: note what the destination says; the status that it gets. Never raises."""
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
                pause_s=lambda reports: _pause_s(reports, settings),
            ),
            timeout_s=ANSWER_PATIENCE_S,
        )
    except (SQLAlchemyError, AttributeError, ValueError, TypeError) as error:
        log.warning("commitment_report_failed", error_type=type(error).__qualname__)
        return PROCESSING_FAILURE, None
    # One that is unknown was answered before, or asked for by somebody else: nothing is to be mended.
    noted = log.info if outcome is CommitmentOutcome.COMMITTED else log.warning
    noted("commitment_reported", outcome=outcome.value, kept=len(kept), failed=len(failed))
    return SUCCESS, None


def _pause_s(reports: int, settings: Settings) -> float:
    """How long an archive gets to file what it took before it is sent again: minutes, growing."""
    return min(
        settings.retry_base_s * FILING * 2.0 ** min(reports, 30), settings.commitment_patience_s
    )


def _action_information(transaction_uid: str, objects: Sequence[SentObject]) -> Dataset:
    """PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(sent) for sent in objects]
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
