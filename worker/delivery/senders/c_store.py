"""Results by C-STORE (PS3.4 annex B): every object in one association, all of them or all again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from db.values.deliveries import CommitmentRequest
from worker.delivery import commitment
from worker.delivery.errors import (
    away,
    certificate,
    fails,
    lacks_classes,
    nothing_accepted,
    refuses,
    refuses_result,
)
from worker.delivery.render import RenderedObject
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders.sender import SenderSession
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

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Our objects are in the first; every node accepts the second (PS3.5 10.1)."""
SUCCESS = 0x0000
DUPLICATE = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.15): it has the object already, which is all we want."""
WARNINGS = {0x0107, 0x0116, *range(0xB000, 0xC000)}
"""Attribute List Error and Attribute Value Out of Range are warnings as well (PS3.7 C.4.2)."""
OUT_OF_RESOURCES = range(0xA700, 0xA800)
TEMPORARY = {0x0110, 0x0213}
"""Processing Failure and Resource Limitation (PS3.7 C.5): no fault of the object."""
NOT_AUTHORISED = 0x0124


class CStoreSender:
    """A destination that is a Storage SCP."""

    def __init__(self, peer: Peer, runtime: DeliveryRuntime) -> None:
        self._peer = peer
        self._runtime = runtime

    @contextmanager
    def open(self, objects: Sequence[RenderedObject]) -> Iterator[CStoreSession]:
        """Open an association that accepts every object's SOP class; release it at the end.

        Storage commitment is proposed with them where the file of peers wants it. Raises
        DestinationFailed (DESTINATION_AWAY, DESTINATION_CERTIFICATE, DESTINATION_REFUSES,
        DESTINATION_FAILS), Rejected DESTINATION_LACKS_SOP_CLASS, Transient COMMITMENT_NOT_OFFERED.
        """
        classes = list(dict.fromkeys(item.sent.sop_class_uid for item in objects))
        if self._peer.storage_commitment:
            classes.append(str(StorageCommitmentPushModel))
        association = self._associate(classes)
        try:
            session = CStoreSession(association, self._peer.name)
            session.require_classes(objects)
            yield session
            session.wait_for_report()
        finally:
            if association.is_established:
                association.release()
            close_socket(association)

    def _associate(self, classes: Sequence[str]) -> Any:
        settings = self._runtime.settings
        # One context for each syntax: an SCP chooses one of a context's, and may prefer the other.
        contexts = [build_context(name, syntax) for name in classes for syntax in SYNTAXES]
        timeouts = AssociationTimeouts(
            connection=min(CONNECT_TIMEOUT_S, settings.delivery_timeout_s),
            association=settings.delivery_timeout_s,
            answer=settings.delivery_timeout_s,
        )
        handlers = commitment.handlers(settings, self._runtime.database)
        try:
            return open_association(self._peer, settings, contexts, timeouts, handlers=handlers)
        except AssociationFailed as failed:
            raise _reason(self._peer.name, failed, classes) from None


class CStoreSession(SenderSession):
    """An association with a Storage SCP."""

    def __init__(self, association: Any, name: str) -> None:
        self._association = association
        self._name = name
        self._requested = False
        self._accepted: dict[str, set[str]] = {}
        """SOP class -> transfer syntaxes in which it is accepted."""
        for context in association.accepted_contexts:
            syntaxes = self._accepted.setdefault(str(context.abstract_syntax), set())
            syntaxes.update(str(syntax) for syntax in context.transfer_syntax)

    def require_classes(self, objects: Sequence[RenderedObject]) -> None:
        """Raise Rejected DESTINATION_LACKS_SOP_CLASS unless every object's class is accepted."""
        if lacking := {item.sent.sop_class_uid for item in objects} - self._accepted.keys():
            raise lacks_classes(self._name, lacking)

    def send(self, objects: Sequence[RenderedObject], renew: Callable[[], None]) -> str | None:
        """Send one after the other; return the last warning's status (PS3.4 B.2.3)."""
        warning = None
        for number, item in enumerate(objects, start=1):
            renew()
            status = self._send(item.dataset)
            if status not in (SUCCESS, DUPLICATE) and status not in WARNINGS:
                raise failure_of_status(status, self._name, f"object {number} of {len(objects)}")
            warning = warning if status == SUCCESS else f"{status:04X}"
        return warning

    def request_commitment(self, request: CommitmentRequest) -> None:
        """Send an N-ACTION; the answer is a report, on this association or to the listener."""
        commitment.send_request(self._association, request)
        self._requested = True

    def wait_for_report(self) -> None:
        """Give a destination that reports on the same association the time to do so."""
        if self._requested:
            commitment.wait_for_report(self._association)

    def _send(self, dataset: Dataset) -> int:
        try:
            status = self._association.send_c_store(self._as_accepted(dataset))
        except RuntimeError:  # the association ended before this object
            raise fails(self._name, "it ended the association") from None
        if "Status" not in status:  # aborted, or no answer within the timeout
            raise fails(self._name, "it took an object and gave no answer")
        return int(status.Status)

    def _as_accepted(self, dataset: Dataset) -> Dataset:
        """Return the object as it is, or in Implicit VR for a node that knows nothing else
        (PS3.5 A.1).
        """
        if ExplicitVRLittleEndian in self._accepted[str(dataset.SOPClassUID)]:
            return dataset
        implicit = copy(dataset)
        implicit.file_meta = copy(dataset.file_meta)
        implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        return implicit


def failure_of_status(status: int, name: str, what: str) -> Exception:
    """Return what a failure status means: the destination is in trouble, or refuses the object."""
    reason = f"status {status:04X} for {what}"
    if status in OUT_OF_RESOURCES or status in TEMPORARY or status == NOT_AUTHORISED:
        return fails(name, reason)
    return refuses_result(name, reason)


def _reason(name: str, failed: AssociationFailed, classes: Sequence[str]) -> Exception:
    """Return why there is no association, as what is wrong with a destination."""
    if failed.cause is AssociationFailureCause.OUR_CERTIFICATE:
        return certificate(name, str(getattr(failed.error, "sentence", "")).rstrip("."))
    if failed.cause is AssociationFailureCause.TLS and failed.error:
        return certificate(name, tls_failure_reason(failed.error))
    if failed.cause is AssociationFailureCause.REJECTED:
        return refuses(name, f"it rejects the association ({failed.rejection}, PS3.8 9.3.4)")
    if failed.cause is AssociationFailureCause.NOTHING_ACCEPTED:
        return nothing_accepted(name, classes)
    if failed.cause is AssociationFailureCause.BROKE_OFF:
        return fails(name, "it ends the connection unasked")
    return away(name)
