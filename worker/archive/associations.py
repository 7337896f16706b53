"""Associations with an archive, as the one who asks: TCP, TLS, negotiation, each failure by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.presentation import PresentationContext

from worker.archive import errors
from worker.errors import PneumoError, Rejected, Unavailable
from worker.peers.associations import (
    CONNECT_TIMEOUT_S,
    LARGE_PDU_BYTES,
    AssociationFailed,
    AssociationFailureCause,
    AssociationTimeouts,
    Rejection,
    open_association,
)
from worker.peers.peers_file import Peer
from worker.settings import Settings

SUCCESS, PENDING = 0x0000, frozenset({0xFF00, 0xFF01})
OUT_OF_RESOURCES = frozenset({0xA700, 0xA701, 0xA702})
"""It refuses for want of resources (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4): later it may do."""


@contextmanager
def association(
    peer: Peer,
    settings: Settings,
    contexts: Sequence[PresentationContext],
    *,
    response_timeout_s: float | None = None,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """An established association with `peer`; released at the end, aborted after an error.

    `response_timeout_s`: longest wait for one message; `archive_timeout_s` if it is not given. Raises Away
    (ARCHIVE_AWAY, ARCHIVE_REFUSES_US, ARCHIVE_CERTIFICATE, TLS_FILE_UNUSABLE).
    """
    patience = AssociationTimeouts(
        connection=min(CONNECT_TIMEOUT_S, settings.archive_timeout_s),
        association=min(CONNECT_TIMEOUT_S, settings.archive_timeout_s),
        answer=response_timeout_s or settings.archive_timeout_s,
    )
    try:
        opened = open_association(
            peer,
            settings,
            contexts,
            patience,
            roles=roles,
            handlers=handlers,
            max_pdu=LARGE_PDU_BYTES,
        )
    except AssociationFailed as none:
        raise _association_error(peer, none) from None
    try:
        yield opened
    except BaseException:
        opened.abort()
        raise
    if opened.is_established:
        opened.release()


def refuse_status(peer: Peer, status: Dataset) -> None:
    """Raise what a final status means, unless it is success or pending."""
    if "Status" not in status:
        raise errors.away(peer, "broke off, or did not answer in time")
    code = int(status.Status)
    if code == SUCCESS or code in PENDING:
        return
    raise error_of_status(peer, code)


def error_of_status(peer: Peer, code: int) -> PneumoError:
    """What a failure's status means."""
    if code in OUT_OF_RESOURCES:
        return errors.away(peer, f"is out of resources (status {code:04X})")
    return errors.failed(peer, f"status {code:04X}")


def _association_error(peer: Peer, none: AssociationFailed) -> Unavailable:
    """Why there is none, as what is wrong with an archive."""
    if none.cause is AssociationFailureCause.NO_ADDRESS:
        lacks = f"{peer.name} has no ae_title, host and port in the file that PNEUMO_PEERS names."
        return errors.misconfigured(peer.name, Rejected("PEER_CANNOT", lacks))
    if none.cause is AssociationFailureCause.OUR_CERTIFICATE and isinstance(none.error, Rejected):
        return errors.misconfigured(peer.name, none.error)
    if none.cause is AssociationFailureCause.TLS and none.error:
        return errors.certificate(peer, none.error)
    if none.cause is AssociationFailureCause.NOTHING_ACCEPTED:
        return errors.refuses_us(
            peer,
            "it accepts none of the services that we ask for",
            "Have it allow us query and retrieve (Study Root), or take another way.",
        )
    if none.rejection:
        return _rejected(peer, none.rejection)
    broke_off = none.cause is AssociationFailureCause.BROKE_OFF
    return errors.away(peer, "broke off the association" if broke_off else "cannot be reached")


def _rejected(peer: Peer, rejection: Rejection) -> Unavailable:
    if rejection.is_transient:
        return errors.away(peer, f"has no room for us ({rejection})")
    return errors.refuses_us(
        peer,
        str(rejection),
        "Enter our AE title (PNEUMO_AE_TITLE) there, and check the `ae_title` that we call.",
    )
