"""What an archive has: C-FIND at study level (PS3.4 C.4.1) or QIDO-RS (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from worker.imaging.identifiers import is_uid
from worker.pacs import troubles
from worker.pacs.contexts import NATIVE
from worker.pacs.dimse import association, refuse_status
from worker.pacs.web import session_with, timeouts
from worker.peers import Peer
from worker.settings import Settings

PAGE = 200
"""Studies asked for at once by QIDO-RS; servers that give fewer are asked on all the same."""


@dataclass(frozen=True, kw_only=True)
class FoundStudy:
    """A study that an archive has; what it does not say is None."""

    study_instance_uid: str = field(repr=False)
    modalities: frozenset[str]
    """(0008,0061) Modalities in Study; empty if it does not say."""
    instances: int | None
    """(0020,1208) Number of Study Related Instances."""


Keys = dict[str, str]
"""Matching keys by keyword, universal matching as ""."""
Ask = Callable[[Keys], Iterator[FoundStudy]]


def find_day(
    peer: Peer, site: Settings, day: date, modalities: Collection[str] = ()
) -> list[FoundStudy]:
    """The studies of one day that have one of these modalities, each once.

    Asked modality by modality, as matching takes a single value, and looked over again: many
    archives do not match (0008,0061), or do not even give it; what does not say its modalities is
    kept, since eligibility is judged image by image anyway. Raises as `association` and
    `session_with`.
    """
    found: dict[str, FoundStudy] = {}
    wanted = frozenset(modalities)
    with asking(peer, site, str(peer.search)) as ask:
        for modality in sorted(wanted) or [""]:
            keys = {"StudyDate": day.strftime("%Y%m%d"), "ModalitiesInStudy": modality}
            for study in ask(keys):
                if not wanted or not study.modalities or study.modalities & wanted:
                    found.setdefault(study.study_instance_uid, study)
    return list(found.values())


def count_instances(ask: Ask, study_instance_uid: str) -> int | None:
    """How many images the archive has of a study; None if it does not know it or does not say."""
    found = look_up(ask, study_instance_uid)
    return found.instances if found else None


def look_up(ask: Ask, study_instance_uid: str) -> FoundStudy | None:
    """What the archive says of a study; None if it does not know it."""
    matches = ask({"StudyInstanceUID": study_instance_uid})
    ours = [it for it in matches if it.study_instance_uid == study_instance_uid]
    return ours[0] if ours else None


@contextmanager
def asking(peer: Peer, site: Settings, way: str) -> Iterator[Ask]:
    """A connection over which any number of questions can be asked, by "c-find" or "qido-rs"."""
    with (_by_qido if way == "qido-rs" else _by_c_find)(peer, site) as ask:
        yield ask


# --- C-FIND ---------------------------------------------------------------------------------------

_RETURNED = ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")


@contextmanager
def _by_c_find(peer: Peer, site: Settings) -> Iterator[Ask]:
    asked = [build_context(StudyRootFind, list(NATIVE[:2]))]
    with association(peer, site, asked) as opened:

        def ask(keys: Keys) -> Iterator[FoundStudy]:
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            for keyword in _RETURNED:
                setattr(query, keyword, "")
            for keyword, value in keys.items():
                setattr(query, keyword, value)
            if not opened.is_established:
                raise troubles.away(peer, "broke off the association")
            for status, answer in opened.send_c_find(query, StudyRootFind):
                refuse_status(peer, status)
                study = None if answer is None else _of_dataset(answer)
                if study is not None:
                    yield study

        yield ask


def _of_dataset(answer: Dataset | dict[str, Any]) -> FoundStudy | None:
    uid = str(answer.get("StudyInstanceUID") or "")
    if not is_uid(uid):
        return None
    return FoundStudy(
        study_instance_uid=uid,
        modalities=_words(answer.get("ModalitiesInStudy")),
        instances=_number(answer.get("NumberOfStudyRelatedInstances")),
    )


def _words(value: Any) -> frozenset[str]:
    values = [value] if isinstance(value, str) or value is None else list(value)
    return frozenset(str(word).strip() for word in values if word)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


# --- QIDO-RS --------------------------------------------------------------------------------------


@contextmanager
def _by_qido(peer: Peer, site: Settings) -> Iterator[Ask]:
    with session_with(peer, site) as session:
        client = DICOMwebClient(
            (peer.dicomweb or "").rstrip("/"), session=session, timeout=timeouts(site)
        )
        client.set_http_retry_params(retry=False)  # we wait longer than it would

        def ask(keys: Keys) -> Iterator[FoundStudy]:
            filters = {keyword: value for keyword, value in keys.items() if value}
            seen: set[str] = set()
            while True:
                page = _page(peer, client, filters, offset=len(seen))
                new = [study for study in page if study.study_instance_uid not in seen]
                yield from new
                seen.update(study.study_instance_uid for study in new)
                if not new or "StudyInstanceUID" in keys:
                    return  # nothing more, or a server that knows no offset and begins again

        yield ask


def _page(peer: Peer, client: DICOMwebClient, filters: Keys, *, offset: int) -> list[FoundStudy]:
    answers = client.search_for_studies(
        limit=PAGE,
        offset=offset,
        fields=["ModalitiesInStudy", "NumberOfStudyRelatedInstances"],
        search_filters=dict(filters),
    )
    if not isinstance(answers, list):
        raise troubles.failed(peer, "its answer is no list of studies")
    studies = (_of_dataset(_dataset(answer)) for answer in answers)
    return [study for study in studies if study is not None]


_TAGS = {
    "StudyInstanceUID": "0020000D",
    "ModalitiesInStudy": "00080061",
    "NumberOfStudyRelatedInstances": "00201208",
}


def _dataset(answer: Any) -> dict[str, Any]:
    """The three elements of the DICOM JSON model (PS3.18 F.2) that we read, by keyword."""
    found: dict[str, Any] = {}
    for keyword, tag in _TAGS.items():
        element = answer.get(tag) if isinstance(answer, dict) else None
        values = element.get("Value") if isinstance(element, dict) else None
        if isinstance(values, list) and values:
            found[keyword] = values if keyword == "ModalitiesInStudy" else values[0]
    return found
