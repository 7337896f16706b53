"""A DICOM association to a destination, and in a destination's words why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from worker.delivery.errors import away, certificate, fails, nothing_accepted, refuses
from worker.peers.associations import (
    CONNECT_TIMEOUT_S,
    AssociationFailed,
    AssociationFailureCause,
    AssociationTimeouts,
    close_socket,
    open_association,
    tls_failure_reason,
)
from worker.peers.peers_file import Peer
from worker.settings import Settings

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Our objects are in the first; every node takes the second (PS3.5 10.1)."""


@contextmanager
def associated(
    peer: Peer, settings: Settings, sop_classes: Iterable[str], handlers: Sequence[Any] = ()
) -> Iterator[Any]:
    """An association with these SOP classes proposed, released at the end.

    Raises DestinationFailed (DESTINATION_AWAY, DESTINATION_CERTIFICATE, DESTINATION_REFUSES,
    DESTINATION_FAILS); if it accepts none of the classes Rejected DESTINATION_LACKS_SOP_CLASS, or
    Transient COMMITMENT_NOT_OFFERED.
    """
    classes = list(sop_classes)
    # One context for each syntax: an SCP chooses one of a context's, and may prefer the other.
    contexts = [build_context(name, syntax) for name in classes for syntax in SYNTAXES]
    try:
        association = open_association(
            peer, settings, contexts, _patience(settings), handlers=handlers
        )
    except AssociationFailed as none:
        raise _told(peer, none, classes) from None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        close_socket(association)


def _told(peer: Peer, none: AssociationFailed, classes: Sequence[str]) -> Exception:
    """Why there is none, as what is wrong with a destination."""
    if none.cause is AssociationFailureCause.OUR_CERTIFICATE:
        return certificate(peer.name, str(getattr(none.error, "sentence", "")).rstrip("."))
    if none.cause is AssociationFailureCause.TLS and none.error:
        return certificate(peer.name, tls_failure_reason(none.error))
    if none.cause is AssociationFailureCause.REJECTED:
        return refuses(peer.name, f"it rejects the association ({none.rejection}, PS3.8 9.3.4)")
    if none.cause is AssociationFailureCause.NOTHING_ACCEPTED:
        return nothing_accepted(peer.name, classes)
    if none.cause is AssociationFailureCause.BROKE_OFF:
        return fails(peer.name, "it ends the connection unasked")
    return away(peer.name)


def _patience(settings: Settings) -> AssociationTimeouts:
    return AssociationTimeouts(
        connection=min(CONNECT_TIMEOUT_S, settings.delivery_timeout_s),
        association=settings.delivery_timeout_s,
        answer=settings.delivery_timeout_s,
    )
