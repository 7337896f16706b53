"""A delivery from its message to its end: claim, render, open, begin, send, finish."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy.orm import Session

from db.deliveries.claims import begin_delivery, claim_delivery, finish_delivery, renew_delivery
from db.ledger.conditions import end_condition
from db.values.deliveries import CommitmentRequest, DeliveryClaim
from db.vocabulary.errors import StaleClaim
from worker.delivery.commitment import new_transaction_uid
from worker.delivery.commitment_requests import repeat_request, send_request
from worker.delivery.outcome import FILES, DeliveryEnd, end_destination_condition, settle
from worker.delivery.render import RenderedObject, render_result
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders import sender_for
from worker.logging import get_logger
from worker.transactions import in_transaction

__all__ = ["DeliveryEnd", "deliver"]

log = get_logger(__name__)


def deliver(delivery_key: str, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Bring one result one step further; every failure ends in a row, none in silence."""
    claim = in_transaction(
        runtime.database,
        lambda session: claim_delivery(session, delivery_key, lease_s=runtime.settings.lease_s),
    )
    if claim is None:
        return repeat_request(delivery_key, runtime)
    try:
        end = _send(claim, runtime)
    except StaleClaim:
        log.warning("delivery_overtaken", attempt=claim.token)
        return DeliveryEnd.OVERTAKEN
    except Exception as error:  # noqa: BLE001  settled by kind: postponed or parked, never lost
        try:
            return settle(claim, error, runtime)
        except StaleClaim:
            return DeliveryEnd.OVERTAKEN
    log.info("delivery", ends=end.value, destination=claim.destination, attempt=claim.token)
    return end


def _send(claim: DeliveryClaim, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Rendered first, then sent: no connection is kept waiting for pictures."""
    peer = runtime.destination(claim.destination)
    renew = partial(_renew, claim, runtime)
    objects = render_result(claim, peer.result_objects, runtime, on_picture=renew)
    with sender_for(peer, runtime).open(objects) as session:
        renew()
        if not _begin(claim, objects, runtime):
            return DeliveryEnd.SUPERSEDED
        warning = session.send(objects, renew)
        # Stored before it is requested: the report may be here before the request is answered.
        transaction_uid = new_transaction_uid() if peer.storage_commitment else None
        _finish(claim, warning, transaction_uid, runtime)
        if transaction_uid is not None:
            send_request(session, _request(claim, transaction_uid, objects), runtime)
    return DeliveryEnd.SENT


def _renew(claim: DeliveryClaim, runtime: DeliveryRuntime) -> None:
    """Extend the lease. Raises StaleClaim if another attempt has the delivery now."""
    in_transaction(
        runtime.database,
        lambda session: renew_delivery(session, claim, lease_s=runtime.settings.lease_s),
    )


def _begin(
    claim: DeliveryClaim, objects: Sequence[RenderedObject], runtime: DeliveryRuntime
) -> bool:
    """Store what is about to be sent; return False if it must not be sent any more."""
    sent = [item.sent for item in objects]
    return in_transaction(runtime.database, lambda session: begin_delivery(session, claim, sent))


def _finish(
    claim: DeliveryClaim,
    warning: str | None,
    transaction_uid: str | None,
    runtime: DeliveryRuntime,
) -> None:
    def write(session: Session) -> None:
        end_destination_condition(session, claim.destination)
        end_condition(session, FILES)
        finish_delivery(  # last: it appends to the audit trail
            session,
            claim,
            warning=warning,
            transaction_uid=transaction_uid,
            repeat_after_s=runtime.settings.commitment_patience_s,
        )

    in_transaction(runtime.database, write, timeout_s=runtime.settings.lease_s / 2)


def _request(
    claim: DeliveryClaim, transaction_uid: str, objects: Sequence[RenderedObject]
) -> CommitmentRequest:
    return CommitmentRequest(
        delivery_id=claim.delivery_id,
        destination=claim.destination,
        transaction_uid=transaction_uid,
        objects=tuple(item.sent for item in objects),
        failures=0,
    )
