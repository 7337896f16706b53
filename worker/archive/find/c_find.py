"""C-FIND (PS3.4 C.4.1), Study Root, over one association."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from worker.archive import errors
from worker.archive.associations import (
    OUT_OF_RESOURCES,
    PENDING,
    SUCCESS,
    association,
    error_of_status,
)
from worker.archive.find.answers import (
    Answer,
    AnswerCompleteness,
    Archive,
    FoundStudy,
    Keys,
    distinct,
)
from worker.archive.find.found_study import found_study
from worker.archive.presentation_contexts import NATIVE_SYNTAXES
from worker.errors import PneumoError
from worker.peers.peers_file import Peer
from worker.settings import Settings

_RETURNED = ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")


@contextmanager
def open_c_find(peer: Peer, settings: Settings) -> Iterator[Archive]:
    """An archive asked by C-FIND. Raises as `association`."""
    asked = [build_context(StudyRootFind, list(NATIVE_SYNTAXES[:2]))]
    with association(peer, settings, asked) as opened:
        yield _CFind(peer, opened)


class _CFind:
    def __init__(self, peer: Peer, opened: Any) -> None:
        self._peer, self._opened = peer, opened

    def studies(self, keys: Keys) -> Answer:
        found: list[FoundStudy] = []
        last = Dataset()
        for status, answer in self._send("STUDY", dict.fromkeys(_RETURNED, "") | keys):
            last = status
            if answer is not None and (study := found_study(answer)) is not None:
                found.append(study)
        return self._judged(distinct(found), last)

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        keys = {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        }
        found = set()
        last = Dataset()
        for status, answer in self._send("IMAGE", keys):
            last = status
            if answer is not None:
                found.add(str(answer.get("SOPInstanceUID") or ""))
        if (error := self._error_of(last)) is not None:
            raise error
        return frozenset(found - {""})

    def _send(self, level: str, keys: Keys) -> Iterator[tuple[Dataset, Dataset | None]]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        if not self._opened.is_established:
            raise errors.away(self._peer, "broke off the association")
        yield from self._opened.send_c_find(query, StudyRootFind)

    def _judged(self, studies: tuple[FoundStudy, ...], last: Dataset) -> Answer:
        """What the last status says of the answer (PS3.4 C.4.1.1.4).

        The standard has no status for "there is more": archives with a limit say that they are out
        of resources, warn (Bxxx), cancel it themselves (FE00), or fail after some matches.
        """
        error = self._error_of(last)
        if error is None:
            return Answer(studies=studies)
        if studies or last.Status in OUT_OF_RESOURCES:
            return Answer(studies=studies, completeness=AnswerCompleteness.NO, error=error)
        raise error

    def _error_of(self, last: Dataset) -> PneumoError | None:
        """What a last status means; raises Away if there was none."""
        if "Status" not in last or last.Status in PENDING:
            raise errors.away(self._peer, "broke off, or did not answer in time")
        code = int(last.Status)
        if code == SUCCESS:
            return None
        if code in OUT_OF_RESOURCES:
            return error_of_status(self._peer, code)
        return errors.search_failed(self._peer, f"status {code:04X}")
