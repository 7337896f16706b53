"""C-GET (PS3.4 C.4.3): the images come over the association that requests them.

So nothing need be configured at the archive but our AE title, and no port of ours need be open.

Archives differ in what they do with a study of which they cannot send all: some send the rest and
say how many failed, some stop there. Private objects beside radiographs are everyday, so a study that
does not come as a whole is listed by C-FIND and retrieved object by object, with their SOP classes
proposed by name. If what is still missing cannot be a radiograph, it is recorded and the study is
processed. If it can, the study is tried again and in the end parked: a negative without the image that
shows the finding would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from worker.archive import errors
from worker.archive.associations import (
    SUCCESS,
    association,
    error_of_status,
    final_code,
    is_final,
)
from worker.archive.find.list_objects import ListedObject, list_objects
from worker.archive.presentation_contexts import c_get_contexts
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.errors import PneumoError, Transient, Unavailable
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.content import encode_file

log = get_logger(__name__)

STATUS_OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
"""Our answers to an image that cannot be stored (PS3.4 B.2.3)."""
SOME_FAILED = 0xB000
"""Sub-operations complete, one or more failures (PS3.4 C.4.3.1.4)."""
NONE_PERFORMED = 0xA702
"""Unable to perform sub-operations; also the status when there were some and each failed."""
Get = Callable[[Dataset], Dataset]
"""Retrieves what an identifier names; returns the last response."""


def retrieve_study(retrieval: Retrieval, settings: Settings) -> RetrieveResult:
    """Retrieve every image of the study.

    Raises as `association`, RETRIEVE_FAILED, RETRIEVE_INCOMPLETE, STUDY_NOT_IN_ARCHIVE, and the first
    refusal if no object could be kept.
    """
    with _open_c_get(retrieval, settings) as get:
        last = get(identifier(retrieval.study_instance_uid))
    if not is_final(last):
        retrieval.refuse_broken_off()
    try:
        return _conclude(retrieval, last)
    except Unavailable:
        raise
    except Transient as error:
        return _retrieve_one_by_one(retrieval, settings, error)


def identifier(study_instance_uid: str, listed: ListedObject | None = None) -> Dataset:
    """Return the identifier of a whole study, or of one of its objects (PS3.4 C.4.3.1.3)."""
    request = Dataset()
    request.QueryRetrieveLevel = "IMAGE" if listed else "STUDY"
    request.StudyInstanceUID = study_instance_uid
    if listed:
        request.SeriesInstanceUID = listed.series_instance_uid
        request.SOPInstanceUID = listed.sop_instance_uid
    return request


def sub_operations(status: Dataset) -> tuple[int, int]:
    """Return how many sub-operations completed (with warnings or not) and how many failed."""
    completed, warning, failed = (
        int(status.get(f"NumberOf{word}Suboperations") or 0)
        for word in ("Completed", "Warning", "Failed")
    )
    return completed + warning, failed


@contextmanager
def _open_c_get(
    retrieval: Retrieval, settings: Settings, also: Collection[str] = ()
) -> Iterator[Get]:
    """Open an association for C-GETs and store what comes. `also`: as in `c_get_contexts`."""
    peer, store = retrieval.peer, _StoreHandler(retrieval)
    contexts = c_get_contexts(also)
    storage = {str(context.abstract_syntax) for context in contexts} - {str(StudyRootGet)}
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted(storage)]
    handlers = [(evt.EVT_C_STORE, store.handle)]
    with association(peer, settings, contexts, roles=roles, handlers=handlers) as opened:

        def get(request: Dataset) -> Dataset:
            last = Dataset()
            if not opened.is_established:
                return last
            try:
                responses = opened.send_c_get(request, StudyRootGet)
            except ValueError:  # no context for C-GET itself
                raise errors.refuses_us(
                    peer, "it accepts no C-GET", "Take another `retrieve` for it."
                ) from None
            for status, _ in responses:
                last = status
                if store.error is not None:
                    raise store.error
                retrieval.refuse_too_late()
            return last

        yield get


class _StoreHandler:
    """Stores what comes; remembers what failed, since a response to C-STORE is only a status."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval
        self.error: PneumoError | None = None

    def handle(self, event: Any) -> int:
        """Store one image and return the status of its C-STORE."""
        if self.error is not None:
            return STATUS_OUT_OF_RESOURCES
        try:
            self._retrieval.refuse_too_late()
            sent_as = str(event.request.AffectedSOPInstanceUID)
            kept = self._retrieval.keep([encode_file(event)], sent_as=sent_as)
        except PneumoError as error:
            self.error = error
            return STATUS_OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001  pynetdicom would answer, and report it to nobody
            log_traceback(error, log, code="RETRIEVE_FAILED")
            self.error = errors.failed(self._retrieval.peer, "an image could not be kept")
            return CANNOT_UNDERSTAND
        return SUCCESS if kept else CANNOT_UNDERSTAND


def _conclude(retrieval: Retrieval, last: Dataset) -> RetrieveResult:
    """Compare what the final response says with what was received."""
    peer, here, refused = retrieval.peer, len(retrieval.images), len(retrieval.refused)
    code, (completed, failed) = final_code(peer, last), sub_operations(last)
    if code not in (SUCCESS, SOME_FAILED) and not (code == NONE_PERFORMED and failed):
        raise error_of_status(peer, code)
    expected = max(here + refused, completed + failed)
    if failed > refused or (code == SOME_FAILED and not here + refused):
        raise errors.incomplete(peer, here, expected)
    retrieval.refuse_nothing_kept()
    if not here and not completed:
        raise errors.not_there(peer)
    return retrieval.result(expected)


def _retrieve_one_by_one(
    retrieval: Retrieval, settings: Settings, as_a_whole: Transient
) -> RetrieveResult:
    """Retrieve the objects that did not come with the study.

    Raises `as_a_whole`, the error of the whole study, if the archive cannot list its objects.
    """
    peer = retrieval.peer
    try:
        listed = list_objects(peer, settings, retrieval.study_instance_uid)
    except PneumoError:
        raise as_a_whole from None
    missing = [it for it in listed if it.sop_instance_uid not in retrieval.received_uids]
    classes = dict.fromkeys(it.sop_class_uid for it in missing if it.sop_class_uid)
    with _open_c_get(retrieval, settings, also=classes) as get:
        for it in missing:
            get(identifier(retrieval.study_instance_uid, it))
    retrieval.refuse_nothing_kept()
    if not retrieval.images:
        raise as_a_whole
    not_given = [it for it in missing if it.sop_instance_uid not in retrieval.received_uids]
    if any(it.may_be_radiograph for it in not_given):
        raise errors.incomplete(peer, len(retrieval.images), len(listed))
    log.warning("study_comes_without", peer=peer.name, not_given=len(not_given), of=len(listed))
    expected = max(len(listed), len(retrieval.images) + len(retrieval.refused) + len(not_given))
    return retrieval.result(expected, not_given=len(not_given))
