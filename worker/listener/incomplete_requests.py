"""Requests that lack what they need get an answer, too: a status with a code (PS3.7 annex C).

pynetdicom drops a request without, say, an Affected SOP Instance UID, and its sender waits in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pynetdicom.dimse_primitives import C_STORE

from worker.listener.incoming_datasets import IncomingDataSet
from worker.logging import get_logger

log = get_logger(__name__)

INVALID_SOP_INSTANCE = 0x0117
"""PS3.7 C.5.11; a C-STORE may be answered with it (PS3.7 9.1.1.1.9)."""
MISTYPED_ARGUMENT = 0x0212
"""PS3.7 C.5.15: an element that the request needs is absent or empty."""
MAX_COMMENT = 64
"""(0000,0902) Error Comment is LO, PS3.5 6.2."""


def answer_or_serve(
    association: Any, serve: Callable[[Any, int], None], request: Any, context_id: int
) -> None:
    """Serve a request as pynetdicom does; answer one that is incomplete.

    One without a Message ID cannot be answered, so its association is aborted.
    """
    if request.is_valid_request or request.MessageIDBeingRespondedTo is not None:
        serve(request, context_id)
        return
    data_set = getattr(request, "DataSet", None)
    if isinstance(data_set, IncomingDataSet):
        data_set.discard()
    if request.MessageID is None:
        log.warning("association_aborted", reason="MESSAGE_ID_MISSING")
        association.abort()
        return
    status, code = _problem(request)
    log.warning("request_refused", code=code)
    response = type(request)()
    response.MessageID = response.MessageIDBeingRespondedTo = request.MessageID
    for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        if getattr(request, keyword, None) is not None:
            setattr(response, keyword, getattr(request, keyword))
    response.Status = status
    response.ErrorComment = code[:MAX_COMMENT]
    association.dimse.send_msg(response, context_id)


def _problem(request: Any) -> tuple[int, str]:
    if isinstance(request, C_STORE) and request.AffectedSOPInstanceUID is None:
        return INVALID_SOP_INSTANCE, "SOP_INSTANCE_UID_MISSING"
    return MISTYPED_ARGUMENT, "REQUEST_INCOMPLETE"
