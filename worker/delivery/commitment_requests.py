"""Request storage commitment for what was sent, and repeat a request that gets no report."""

from __future__ import annotations

from db.deliveries.commitment import cancel_commitment, request_commitment
from db.values.deliveries import CommitmentRequest
from worker.delivery.commitment import new_transaction_uid
from worker.delivery.outcome import DeliveryEnd, record_request_taken, settle_request
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders import sender_for
from worker.delivery.senders.sender import SenderSession
from worker.logging import get_logger
from worker.transactions import in_transaction

log = get_logger(__name__)


def send_request(
    session: SenderSession, request: CommitmentRequest, runtime: DeliveryRuntime
) -> None:
    """Request commitment in an open session; whatever fails, the result stays sent."""
    try:
        session.request_commitment(request)
    except Exception as error:  # noqa: BLE001  it is requested again
        settle_request(request, error, runtime)
        return
    in_transaction(
        runtime.database, lambda session: record_request_taken(session, request.destination)
    )


def repeat_request(delivery_key: str, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Ask a destination again that took a result and never reported whether it keeps it."""
    transaction_uid = new_transaction_uid()
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
        return DeliveryEnd.DROPPED
    try:
        peer = runtime.destination(request.destination)
        if not peer.storage_commitment:
            in_transaction(
                runtime.database, lambda session: cancel_commitment(session, transaction_uid)
            )
            return DeliveryEnd.SENT
        with sender_for(peer, runtime).open(()) as session:
            send_request(session, request, runtime)
    except Exception as error:  # noqa: BLE001  it is requested again
        settle_request(request, error, runtime)
        return DeliveryEnd.PUT_OFF
    return DeliveryEnd.ASKED
