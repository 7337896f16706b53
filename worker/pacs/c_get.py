"""C-GET (PS3.4 C.4.3): the images come over the association that asks for them.

So nothing need be configured at the archive but our AE title, and no port of ours need be open.
"""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context, build_role, evt
from pynetdicom.presentation import PresentationContext, StoragePresentationContexts
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from worker.errors import PneumoError
from worker.intake.arriving import encode_file
from worker.logging import get_logger, keep_traceback
from worker.pacs import troubles
from worker.pacs.dimse import PENDING, SUCCESS, association, of_status
from worker.pacs.images import Fetched, Fetching
from worker.settings import Settings

log = get_logger(__name__)

MOST_CONTEXTS = 128
"""Of an association: their ids are the odd numbers of one byte (PS3.8 9.3.2.2)."""
RADIOGRAPHS = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)
"""Asked for in each transfer syntax on its own, so that the archive need not transcode."""
NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
COMPRESSED = tuple(uid for uid in AllTransferSyntaxes if uid not in NATIVE and uid.is_compressed)
STILL = tuple(
    uid
    for uid in COMPRESSED
    if not any(word in uid.name for word in ("MPEG", "HEVC", "JPIP", "SMPTE", "Part 2"))
)
BESIDE_RADIOGRAPHS = (
    "1.2.840.10008.5.1.4.1.1.1.",  # mammography, intra-oral
    "1.2.840.10008.5.1.4.1.1.7.",  # multi-frame Secondary Capture
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key objects
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.12.",  # X-ray angiography and fluoroscopy
)
"""What studies with radiographs have beside them comes first, as not everything has room."""
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
"""What we answer to an image that we cannot keep (PS3.4 B.2.3)."""
SOME_FAILED = 0xB000
"""Sub-operations complete, one or more failures (PS3.4 C.4.3.1.4)."""


def contexts() -> list[PresentationContext]:
    """C-GET itself, radiographs syntax by syntax, and of all other storage as much as has room."""
    asked = [build_context(StudyRootGet, list(NATIVE[:2]))]
    for sop_class in RADIOGRAPHS:
        asked.append(build_context(sop_class, list(NATIVE)))
        asked += [build_context(sop_class, syntax) for syntax in STILL]
    others = [
        build_context(context.abstract_syntax, [*NATIVE[:2], *STILL])
        for context in sorted(StoragePresentationContexts, key=_is_far_from_radiographs)
        if context.abstract_syntax not in RADIOGRAPHS
    ]
    return [*asked, *others][:MOST_CONTEXTS]


def _is_far_from_radiographs(context: PresentationContext) -> bool:
    return not str(context.abstract_syntax).startswith(BESIDE_RADIOGRAPHS)


def fetch(fetching: Fetching, site: Settings) -> Fetched:
    """Every image of the study. Raises as `association`, `Fetching.keep`, RETRIEVE_..."""
    peer, taker = fetching.peer, _Taker(fetching)
    asked = contexts()
    storage = {context.abstract_syntax for context in asked} - {StudyRootGet}
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted(storage)]
    handlers = [(evt.EVT_C_STORE, taker.take)]
    with association(peer, site, asked, roles=roles, handlers=handlers) as opened:
        last = Dataset()
        try:
            answers = opened.send_c_get(identifier(fetching.study_instance_uid), StudyRootGet)
        except ValueError:  # no context for C-GET itself
            raise troubles.refuses_us(
                peer, "it accepts no C-GET", "Take another `retrieve` for it."
            ) from None
        for status, _ in answers:
            last = status
            if taker.error is not None:
                raise taker.error
            fetching.refuse_too_late()
    return _conclude(fetching, last)


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


class _Taker:
    """Keeps what comes; what went wrong is remembered, since an answer can only be a status."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self.error: PneumoError | None = None

    def take(self, event: Any) -> int:
        """The status that an image gets."""
        if self.error is not None:
            return OUT_OF_RESOURCES
        try:
            self._fetching.refuse_too_late()
            self._fetching.keep([encode_file(event)])
        except PneumoError as error:
            self.error = error
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001  pynetdicom would answer, and tell nobody
            keep_traceback(error, log, code="RETRIEVE_FAILED")
            self.error = troubles.failed(self._fetching.peer, "an image could not be kept")
            return CANNOT_UNDERSTAND
        return SUCCESS


def _conclude(fetching: Fetching, last: Dataset) -> Fetched:
    """What the last answer says, against what is here."""
    peer, here = fetching.peer, len(fetching.images)
    if "Status" not in last or last.Status in PENDING:
        fetching.refuse_broken_off()
        raise troubles.away(peer, "broke off, or did not answer in time")
    if last.Status not in (SUCCESS, SOME_FAILED):
        raise of_status(peer, int(last.Status))
    completed = (sub_operations(last, "Completed") or 0) + (sub_operations(last, "Warning") or 0)
    failed = sub_operations(last, "Failed") or 0
    if failed or (last.Status == SOME_FAILED and not here):
        raise troubles.incomplete(peer, here, max(here, completed) + failed)
    if not here and not completed:
        raise troubles.not_there(peer)
    return Fetched(images=tuple(fetching.images), expected=max(here, completed))
