"""C-MOVE (PS3.4 C.4.2): have the archive send a study to our listener, under our AE title.

For archives that do not offer C-GET. The listener adds the images to the study that was ordered; they
are on its disk, so workers that retrieve this way need its intake folder.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove

from worker.archive import errors
from worker.archive.associations import SUCCESS, association, error_of_status, final_code
from worker.archive.presentation_contexts import query_context
from worker.archive.retrieve.c_get import SOME_FAILED, identifier, sub_operations
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.settings import Settings

DESTINATION_UNKNOWN = 0xA801
"""Refused: Move Destination unknown (PS3.4 C.4.2.1.5)."""
UNABLE_TO_PROCESS = 0xC000
"""The first of 4096 codes; Orthanc returns it for an unknown destination and for an unknown study."""


def retrieve_study(retrieval: Retrieval, settings: Settings) -> RetrieveResult:
    """Have the study sent to us. Raises as `association`, MOVE_DESTINATION_UNKNOWN, RETRIEVE_FAILED,
    RETRIEVE_INCOMPLETE, STUDY_NOT_IN_ARCHIVE.

    An archive sends its final response only after our listener answered every image, so that all of
    them have their rows then.
    """
    contexts = [query_context(StudyRootMove)]
    request = identifier(retrieval.study_instance_uid)
    last = Dataset()
    # Some archives respond only when all is sent: the archive has all the time that is left.
    left_s = retrieval.seconds_left()
    with association(retrieval.peer, settings, contexts, response_timeout_s=left_s) as opened:
        for status, _ in opened.send_c_move(request, settings.ae_title, StudyRootMove):
            last = status
            retrieval.refuse_too_late()
    return _conclude(retrieval, settings, last)


def _conclude(retrieval: Retrieval, settings: Settings, last: Dataset) -> RetrieveResult:
    peer = retrieval.peer
    code, (completed, failed) = final_code(peer, last), sub_operations(last)
    if code == DESTINATION_UNKNOWN:
        raise errors.destination_unknown(peer, settings.ae_title)
    if UNABLE_TO_PROCESS <= code <= UNABLE_TO_PROCESS + 0x0FFF:
        hint = f"perhaps it does not know {settings.ae_title}"
        raise errors.failed(peer, f"status {code:04X}: {hint}")
    if code not in (SUCCESS, SOME_FAILED):
        raise error_of_status(peer, code)
    if failed and not completed:
        raise errors.incomplete(peer, 0, failed)
    if not completed:
        raise errors.not_there(peer)
    return RetrieveResult(images=(), expected=completed + failed)
