"""Asking a destination whether it keeps what it took, and asking again when it says nothing."""

from __future__ import annotations

from enum import StrEnum

from pynetdicom.sop_class import StorageCommitmentPushModel

from db.deliveries.commitment import cancel_commitment, request_commitment
from db.values.deliveries import CommitmentRequest
from worker.delivery import commitment
from worker.delivery.associations import associated
from worker.delivery.errors import unknown
from worker.delivery.failures import note_asked, settle_commitment_failure
from worker.delivery.runtime import DeliveryRuntime
from worker.errors import Rejected
from worker.logging import get_logger
from worker.peers.peers_file import Peer
from worker.transactions import in_transaction

log = get_logger(__name__)


class Asking(StrEnum):
    """What came of it, by words of `DeliveryEnd`."""

    ASKED = "asked"
    """Its answer comes as a report."""
    SENT = "sent"
    """It is not asked any more: what it took counts as sent."""
    PUT_OFF = "put_off"
    """It could not be asked; later."""
    DROPPED = "dropped"
    """Not due, or the destination is away."""


def ask_again(delivery_key: str, runtime: DeliveryRuntime) -> Asking:
    """A destination that took a result and never said whether it keeps it."""
    transaction_uid = commitment.new_transaction_uid()
    request = in_transaction(
        runtime.database,
        lambda session: request_commitment(
            session,
            delivery_key,
            transaction_uid=transaction_uid,
            repeat_after_s=runtime.settings.commitment_patience_s,
        ),
    )
    if request is None:
        log.info("message_dropped")
        return Asking.DROPPED
    try:
        peer = peer_of(request.destination, runtime)
        if not peer.storage_commitment:
            in_transaction(
                runtime.database, lambda session: cancel_commitment(session, transaction_uid)
            )
            return Asking.SENT
        handlers = commitment.handlers(runtime.settings, runtime.database)
        wanted = [str(StorageCommitmentPushModel)]
        with associated(peer, runtime.settings, wanted, handlers) as association:
            ask(association, request, runtime)
    except Exception as error:  # noqa: BLE001  it is asked again
        settle_commitment_failure(
            transaction_uid, request.destination, error, request.failures, runtime
        )
        return Asking.PUT_OFF
    return Asking.ASKED


def ask(association: object, request: CommitmentRequest, runtime: DeliveryRuntime) -> None:
    """Ask in an open association. A result that was sent stays sent, whatever becomes of the question."""
    name, uid = request.destination, request.transaction_uid
    try:
        commitment.ask(association, name, uid, request.objects)
    except Exception as error:  # noqa: BLE001  it is asked again
        settle_commitment_failure(uid, name, error, request.failures, runtime)
        return
    in_transaction(runtime.database, lambda session: note_asked(session, name))
    commitment.wait_for_report(association)


def peer_of(name: str, runtime: DeliveryRuntime) -> Peer:
    """The destination as the file has it now. Raises DestinationFailed DESTINATION_UNKNOWN."""
    try:
        return runtime.peers.single_with_role("results", name)
    except Rejected:
        raise unknown(name) from None
