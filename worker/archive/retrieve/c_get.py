"""C-GET (PS3.4 C.4.3): the images come over the association that asks for them.

So nothing need be configured at the archive but our AE title, and no port of ours need be open.

Archives differ in what they do with a study of which they cannot send all: some send the rest and
say how many failed, some stop there. Private objects beside radiographs are everyday, so a study that
does not come as a whole is looked up by C-FIND and asked for object by object, their SOP classes
proposed by name. What is missing then is recorded and goes on if it can be no radiograph. If it can,
the study is tried again and in the end parked: a negative without the image that shows the finding
would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from worker.archive import errors
from worker.archive.associations import PENDING, SUCCESS, association, error_of_status
from worker.archive.find.list_objects import list_objects
from worker.archive.presentation_contexts import c_get_contexts
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.errors import PneumoError, Transient, Unavailable
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.content import encode_file

log = get_logger(__name__)

STATUS_OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
"""What we answer to an image that we cannot keep (PS3.4 B.2.3)."""
SOME_FAILED = 0xB000
"""Sub-operations complete, one or more failures (PS3.4 C.4.3.1.4)."""
NONE_PERFORMED = 0xA702
"""Unable to perform sub-operations; also said when there were some, and each failed."""
Get = Callable[[Dataset], Dataset]
"""Retrieve what an identifier names; the last answer."""


def retrieve_study(fetching: Retrieval, settings: Settings) -> RetrieveResult:
    """Every image of the study. Raises as `association`, RETRIEVE_..., and what refused all."""
    with _open_c_get(fetching, settings) as get:
        last = get(identifier(fetching.study_instance_uid))
    if "Status" not in last or last.Status in PENDING:
        fetching.refuse_broken_off()
        raise errors.away(fetching.peer, "broke off, or did not answer in time")
    try:
        return _conclude(fetching, last)
    except Unavailable:
        raise
    except Transient as error:
        return _retrieve_one_by_one(fetching, settings, error)


def identifier(study_instance_uid: str) -> Dataset:
    """What is retrieved: a whole study (PS3.4 C.4.3.1.3)."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    wanted.StudyInstanceUID = study_instance_uid
    return wanted


def sub_operations(status: Dataset, word: str) -> int | None:
    """Number of Completed, Failed or Warning sub-operations; None if the answer does not say."""
    value = status.get(f"NumberOf{word}Suboperations")
    return None if value is None else int(value)


@contextmanager
def _open_c_get(
    fetching: Retrieval, settings: Settings, also: Collection[str] = ()
) -> Iterator[Get]:
    """An association over which C-GETs are made; what comes is kept. `also`: as in `contexts`."""
    peer, taker = fetching.peer, _StoreHandler(fetching)
    asked = c_get_contexts(also)
    storage = {str(context.abstract_syntax) for context in asked} - {str(StudyRootGet)}
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted(storage)]
    handlers = [(evt.EVT_C_STORE, taker.take)]
    with association(peer, settings, asked, roles=roles, handlers=handlers) as opened:

        def get(wanted: Dataset) -> Dataset:
            last = Dataset()
            if not opened.is_established:
                return last
            try:
                answers = opened.send_c_get(wanted, StudyRootGet)
            except ValueError:  # no context for C-GET itself
                raise errors.refuses_us(
                    peer, "it accepts no C-GET", "Take another `retrieve` for it."
                ) from None
            for status, _ in answers:
                last = status
                if taker.error is not None:
                    raise taker.error
                fetching.refuse_too_late()
            return last

        yield get


class _StoreHandler:
    """Keeps what comes; what went wrong is remembered, since an answer can only be a status."""

    def __init__(self, fetching: Retrieval) -> None:
        self._fetching = fetching
        self.error: PneumoError | None = None

    def take(self, event: Any) -> int:
        """The status that an image gets."""
        if self.error is not None:
            return STATUS_OUT_OF_RESOURCES
        try:
            self._fetching.refuse_too_late()
            sent_as = str(event.request.AffectedSOPInstanceUID)
            kept = self._fetching.keep([encode_file(event)], sent_as=sent_as)
        except PneumoError as error:
            self.error = error
            return STATUS_OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001  pynetdicom would answer, and tell nobody
            log_traceback(error, log, code="RETRIEVE_FAILED")
            self.error = errors.failed(self._fetching.peer, "an image could not be kept")
            return CANNOT_UNDERSTAND
        return SUCCESS if kept else CANNOT_UNDERSTAND


def _conclude(fetching: Retrieval, last: Dataset) -> RetrieveResult:
    """What the last answer says, against what is here."""
    peer, here, refused = fetching.peer, len(fetching.images), len(fetching.refused)
    completed = (sub_operations(last, "Completed") or 0) + (sub_operations(last, "Warning") or 0)
    failed = sub_operations(last, "Failed") or 0
    every_one_failed = last.Status == NONE_PERFORMED and failed
    if last.Status not in (SUCCESS, SOME_FAILED) and not every_one_failed:
        raise error_of_status(peer, int(last.Status))
    expected = max(here + refused, completed + failed)
    if failed > refused or (last.Status == SOME_FAILED and not here + refused):
        raise errors.incomplete(peer, here, expected)
    fetching.refuse_nothing_kept()
    if not here and not completed:
        raise errors.not_there(peer)
    return fetching.result(expected)


def _retrieve_one_by_one(
    fetching: Retrieval, settings: Settings, as_a_whole: Transient
) -> RetrieveResult:
    """What did not come as a whole. Raises `as_a_whole` where the archive cannot say what there is."""
    peer = fetching.peer
    try:
        listed = list_objects(peer, settings, fetching.study_instance_uid)
    except PneumoError:
        raise as_a_whole from None
    missing = [it for it in listed if it.sop_instance_uid not in fetching.came]
    classes = dict.fromkeys(it.sop_class_uid for it in missing if it.sop_class_uid)
    with _open_c_get(fetching, settings, also=classes) as get:
        for it in missing:
            wanted = identifier(fetching.study_instance_uid)
            wanted.QueryRetrieveLevel = "IMAGE"
            wanted.SeriesInstanceUID = it.series_instance_uid
            wanted.SOPInstanceUID = it.sop_instance_uid
            get(wanted)
    fetching.refuse_nothing_kept()
    if not fetching.images:
        raise as_a_whole
    still = [it for it in missing if it.sop_instance_uid not in fetching.came]
    if any(it.may_be_radiograph for it in still):
        raise errors.incomplete(peer, len(fetching.images), len(listed))
    log.warning("study_comes_without", peer=peer.name, not_given=len(still), of=len(listed))
    expected = max(len(listed), len(fetching.images) + len(fetching.refused) + len(still))
    return fetching.result(expected, not_given=len(still))
