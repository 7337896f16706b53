"""A result by C-STORE (PS3.4 annex B): every object in one association, all of them or all again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from worker.delivery.errors import fails, lacks_classes
from worker.delivery.render import MadeObject
from worker.errors import Rejected

SUCCESS = 0x0000
DUPLICATE = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.15): it has the object already, which is all we want."""
WARNINGS = {0x0107, 0x0116, *range(0xB000, 0xC000)}
"""Attribute List Error and Attribute Value Out of Range are warnings as well (PS3.7 C.4.2)."""
OUT_OF_RESOURCES = range(0xA700, 0xA800)
TEMPORARY = {0x0110, 0x0213}
"""Processing Failure and Resource Limitation (PS3.7 C.5): no fault of the object."""
NOT_AUTHORISED = 0x0124


def send_all(
    association: Any, name: str, objects: Sequence[MadeObject], on_object: Callable[[], None]
) -> str | None:
    """Send them in turn; the last warning's status, if there was one (PS3.4 B.2.3).

    `on_object` is called before each. Raises Rejected DESTINATION_REFUSES_RESULT;
    DestinationFailed DESTINATION_FAILS.
    """
    accepted = _accepted(association)
    warning = None
    for number, made in enumerate(objects, start=1):
        on_object()
        status = _send(association, name, _as_accepted(made.dataset, accepted))
        if status not in (SUCCESS, DUPLICATE) and status not in WARNINGS:
            raise judged(status, name, f"object {number} of {len(objects)}")
        warning = warning if status == SUCCESS else f"{status:04X}"
    return warning


def require_classes(association: Any, name: str, objects: Sequence[MadeObject]) -> None:
    """Ask before anything is sent. Raises Rejected DESTINATION_LACKS_SOP_CLASS."""
    lacking = {made.sent.sop_class_uid for made in objects} - _accepted(association).keys()
    if lacking:
        raise lacks_classes(name, lacking)


def judged(status: int, name: str, what: str) -> Exception:
    """What a failure status means: is it the destination's trouble, or does it refuse the object?"""
    said = f"status {status:04X} for {what}"
    if status in OUT_OF_RESOURCES or status in TEMPORARY or status == NOT_AUTHORISED:
        return fails(name, said)
    return Rejected(
        "DESTINATION_REFUSES_RESULT",
        f"{name} refuses the result: {said}. Its log says why; once that is mended run `pneumo "
        "deliveries --retry`.",
    )


def _send(association: Any, name: str, dataset: Dataset) -> int:
    try:
        status = association.send_c_store(dataset)
    except RuntimeError:  # the association ended before this object
        raise fails(name, "it ended the association") from None
    if "Status" not in status:  # aborted, or no answer within the timeout
        raise fails(name, "it took an object and gave no answer")
    return int(status.Status)


def _accepted(association: Any) -> dict[str, set[str]]:
    """SOP class -> transfer syntaxes in which it is taken."""
    found: dict[str, set[str]] = {}
    for context in association.accepted_contexts:
        found.setdefault(str(context.abstract_syntax), set()).update(
            str(syntax) for syntax in context.transfer_syntax
        )
    return found


def _as_accepted(dataset: Dataset, accepted: dict[str, set[str]]) -> Dataset:
    """The object as it is, or in Implicit VR for a node that knows nothing else (PS3.5 A.1)."""
    if ExplicitVRLittleEndian in accepted[str(dataset.SOPClassUID)]:
        return dataset
    implicit = copy(dataset)
    implicit.file_meta = copy(dataset.file_meta)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return implicit
