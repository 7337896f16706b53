"""C-MOVE (PS3.4 C.4.2): the archive is told to send a study to our listener, under our AE title.

For archives that do not offer C-GET. The listener takes the images into the row that ordered them;
they are on its disk, so workers that fetch this way need its intake folder.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove

from worker.archive import errors
from worker.archive.associations import PENDING, SUCCESS, association, error_of_status
from worker.archive.presentation_contexts import NATIVE_SYNTAXES
from worker.archive.retrieve.c_get import SOME_FAILED, identifier, sub_operations
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.settings import Settings

DESTINATION_UNKNOWN = 0xA801
"""Refused: Move Destination unknown (PS3.4 C.4.2.1.5)."""
UNABLE_TO_PROCESS = 0xC000
"""The first of 4096; Orthanc says it of an unknown destination, and of an unknown study."""


def retrieve_study(fetching: Retrieval, settings: Settings) -> RetrieveResult:
    """Have the study sent to us. Raises as `association`, MOVE_DESTINATION_UNKNOWN, RETRIEVE_...

    An archive answers its last only after every image was answered by our listener, so that all of
    them have their rows then.
    """
    peer = fetching.peer
    asked = [build_context(StudyRootMove, list(NATIVE_SYNTAXES[:2]))]
    wanted = identifier(fetching.study_instance_uid)
    last = Dataset()
    # Some archives say nothing until all is sent: it has all the time that there is.
    with association(peer, settings, asked, response_timeout_s=fetching.seconds_left()) as opened:
        for status, _ in opened.send_c_move(wanted, settings.ae_title, StudyRootMove):
            last = status
            fetching.refuse_too_late()
    return _conclude(fetching, settings, last)


def _conclude(fetching: Retrieval, settings: Settings, last: Dataset) -> RetrieveResult:
    peer = fetching.peer
    if "Status" not in last or last.Status in PENDING:
        raise errors.away(peer, "broke off, or did not answer in time")
    if last.Status == DESTINATION_UNKNOWN:
        raise errors.destination_unknown(peer, settings.ae_title)
    if UNABLE_TO_PROCESS <= last.Status <= UNABLE_TO_PROCESS + 0x0FFF:
        raise errors.failed(
            peer, f"status {last.Status:04X}: perhaps it does not know {settings.ae_title}"
        )
    if last.Status not in (SUCCESS, SOME_FAILED):
        raise error_of_status(peer, int(last.Status))
    completed = (sub_operations(last, "Completed") or 0) + (sub_operations(last, "Warning") or 0)
    failed = sub_operations(last, "Failed") or 0
    if failed and not completed:
        raise errors.incomplete(peer, 0, failed)
    if not completed:
        raise errors.not_there(peer)
    return RetrieveResult(images=(), expected=completed + failed)
