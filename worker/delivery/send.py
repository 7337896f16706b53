"""The whole story of a delivery: claimed, made, begun, sent, confirmed."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from pynetdicom.sop_class import StorageCommitmentPushModel
from sqlalchemy.orm import Session

from db.deliveries.claims import begin_delivery, claim_delivery, finish_delivery, renew_delivery
from db.ledger.conditions import end_condition
from db.values.deliveries import CommitmentRequest, DeliveryClaim
from db.vocabulary.errors import StaleClaim
from worker.delivery import commitment
from worker.delivery.associations import associated
from worker.delivery.commitment_requests import ask, ask_again, peer_of
from worker.delivery.failures import FILES, note_all_well, settle
from worker.delivery.render import MadeObject, make_result
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders.c_store import require_classes, send_all
from worker.delivery.senders.stow_rs import send_by_web
from worker.logging import get_logger
from worker.peers.peers_file import Peer
from worker.transactions import in_transaction

log = get_logger(__name__)


class DeliveryEnd(StrEnum):
    """What came of one message."""

    SENT = "sent"
    """The destination has every object."""
    ASKED = "asked"
    """The destination was asked again whether it keeps them."""
    DROPPED = "dropped"
    """Not due, taken by another worker, or its destination is away."""
    SUPERSEDED = "superseded"
    """A newer result took its place before anything was sent, or the person was erased."""
    OVERTAKEN = "overtaken"
    """The claim ran out and was taken over."""
    PUT_OFF = "put_off"
    """Due again later."""
    PARKED = "parked"
    """It waits for a person."""


def deliver(delivery_key: str, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Bring one result one step further; every failure ends in a row, none in silence."""
    claimed = in_transaction(
        runtime.database,
        lambda session: claim_delivery(session, delivery_key, lease_s=runtime.settings.lease_s),
    )
    if claimed is None:
        return DeliveryEnd(ask_again(delivery_key, runtime).value)
    try:
        end = _send(claimed, runtime)
    except StaleClaim:
        log.warning("delivery_overtaken", attempt=claimed.token)
        return DeliveryEnd.OVERTAKEN
    except Exception as error:  # noqa: BLE001  settled by kind: put off, parked, never lost
        try:
            return DeliveryEnd(settle(claimed, error, runtime).value)
        except StaleClaim:
            return DeliveryEnd.OVERTAKEN
    log.info("delivery", ends=end.value, destination=claimed.destination, attempt=claimed.token)
    return end


def _send(claimed: DeliveryClaim, runtime: DeliveryRuntime) -> DeliveryEnd:
    """Made first, then sent: an association is not kept waiting for pictures."""
    peer = peer_of(claimed.destination, runtime)
    renew = _renewal(claimed, runtime)
    kinds = peer.result_objects
    objects = make_result(claimed, kinds, runtime.settings, runtime.database, runtime.words, renew)

    def begin() -> bool:
        renew()
        sent = [made.sent for made in objects]
        return in_transaction(
            runtime.database, lambda session: begin_delivery(session, claimed, sent)
        )

    if peer.results == "stow-rs":
        return _send_by_web(claimed, peer, objects, begin, runtime)
    return _send_by_dimse(claimed, peer, objects, begin, renew, runtime)


def _send_by_web(
    claimed: DeliveryClaim,
    peer: Peer,
    objects: list[MadeObject],
    begin: Callable[[], bool],
    runtime: DeliveryRuntime,
) -> DeliveryEnd:
    begun: list[bool] = []

    def on_connected() -> bool:
        begun.append(begin())
        return begun[-1]

    warning = send_by_web(peer, runtime.settings, objects, on_connected)
    if not all(begun):
        return DeliveryEnd.SUPERSEDED
    _finish(claimed, warning, None, runtime)
    return DeliveryEnd.SENT


def _send_by_dimse(
    claimed: DeliveryClaim,
    peer: Peer,
    objects: list[MadeObject],
    begin: Callable[[], bool],
    renew: Callable[[], None],
    runtime: DeliveryRuntime,
) -> DeliveryEnd:
    classes = dict.fromkeys(made.sent.sop_class_uid for made in objects)
    if peer.storage_commitment:
        classes[str(StorageCommitmentPushModel)] = None
    handlers = commitment.handlers(runtime.settings, runtime.database)
    with associated(peer, runtime.settings, classes, handlers) as association:
        require_classes(association, peer.name, objects)
        if not begin():
            return DeliveryEnd.SUPERSEDED
        warning = send_all(association, peer.name, objects, renew)
        # Written down before it is asked: the report may be here before the answer is.
        transaction_uid = commitment.new_transaction_uid() if peer.storage_commitment else None
        _finish(claimed, warning, transaction_uid, runtime)
        if transaction_uid is not None:
            request = CommitmentRequest(
                delivery_id=claimed.delivery_id,
                destination=peer.name,
                transaction_uid=transaction_uid,
                objects=tuple(made.sent for made in objects),
                failures=0,
            )
            ask(association, request, runtime)
    return DeliveryEnd.SENT


def _finish(
    claimed: DeliveryClaim,
    warning: str | None,
    transaction_uid: str | None,
    runtime: DeliveryRuntime,
) -> None:
    def write(session: Session) -> None:
        note_all_well(session, claimed.destination)
        end_condition(session, FILES)
        finish_delivery(  # last: it appends to the audit trail
            session,
            claimed,
            warning=warning,
            transaction_uid=transaction_uid,
            repeat_after_s=runtime.settings.commitment_patience_s,
        )

    in_transaction(runtime.database, write, timeout_s=runtime.settings.lease_s / 2)


def _renewal(claimed: DeliveryClaim, runtime: DeliveryRuntime) -> Callable[[], None]:
    """Holds the claim for another lease; whoever was overtaken stops here."""

    def renew() -> None:
        in_transaction(
            runtime.database,
            lambda session: renew_delivery(session, claimed, lease_s=runtime.settings.lease_s),
        )

    return renew
