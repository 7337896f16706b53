"""Associations that we request of an archive: TCP, TLS, negotiation, each failure by its name."""

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
"""Refused: out of resources (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4); the archive may succeed later."""


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
    """Associate with `peer`; release at the end, abort after an error.

    `response_timeout_s`: longest wait for one message; None: `archive_timeout_s`. Raises Unavailable
    (ARCHIVE_AWAY, ARCHIVE_REFUSES_US, ARCHIVE_CERTIFICATE, TLS_FILE_UNUSABLE).
    """
    connect_s = min(CONNECT_TIMEOUT_S, settings.archive_timeout_s)
    timeouts = AssociationTimeouts(
        connection=connect_s,
        association=connect_s,
        answer=response_timeout_s or settings.archive_timeout_s,
    )
    try:
        opened = open_association(
            peer, settings, contexts, timeouts,
            roles=roles, handlers=handlers, max_pdu=LARGE_PDU_BYTES,
        )  # fmt: skip
    except AssociationFailed as failure:
        raise _association_error(peer, failure) from None
    try:
        yield opened
    except BaseException:
        opened.abort()
        raise
    if opened.is_established:
        opened.release()


def is_final(status: Dataset) -> bool:
    """Return whether this status ends an operation; else the association broke off or timed out."""
    return "Status" in status and status.Status not in PENDING


def final_code(peer: Peer, status: Dataset) -> int:
    """Return the code of a final status. Raises Unavailable ARCHIVE_AWAY if it is none."""
    if not is_final(status):
        raise errors.away(peer, "broke off, or did not answer in time")
    return int(status.Status)


def error_of_status(peer: Peer, code: int) -> PneumoError:
    """Return the error that a failure status means."""
    if code in OUT_OF_RESOURCES:
        return errors.away(peer, f"is out of resources (status {code:04X})")
    return errors.failed(peer, f"status {code:04X}")


def _association_error(peer: Peer, failure: AssociationFailed) -> Unavailable:
    """Return the reason for a failed association as what is wrong with the archive."""
    if failure.cause is AssociationFailureCause.NO_ADDRESS:
        lacks = f"{peer.name} has no ae_title, host and port in the file that PNEUMO_PEERS names."
        return errors.misconfigured(peer.name, Rejected("PEER_CANNOT", lacks))
    if failure.cause is AssociationFailureCause.OUR_CERTIFICATE and isinstance(
        failure.error, Rejected
    ):
        return errors.misconfigured(peer.name, failure.error)
    if failure.cause is AssociationFailureCause.TLS and failure.error:
        return errors.certificate(peer, failure.error)
    if failure.cause is AssociationFailureCause.NOTHING_ACCEPTED:
        return errors.refuses_us(
            peer,
            "it accepts none of the services that we ask for",
            "Have it allow us query and retrieve (Study Root), or take another way.",
        )
    if failure.rejection:
        return _rejected(peer, failure.rejection)
    broke_off = failure.cause is AssociationFailureCause.BROKE_OFF
    return errors.away(peer, "broke off the association" if broke_off else "cannot be reached")


def _rejected(peer: Peer, rejection: Rejection) -> Unavailable:
    if rejection.is_transient:
        return errors.away(peer, f"has no room for us ({rejection})")
    advice = "Enter our AE title (PNEUMO_AE_TITLE) there, and check the `ae_title` that we call."
    return errors.refuses_us(peer, str(rejection), advice)
