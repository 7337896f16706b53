"""C-FIND (PS3.4 C.4.1), Study Root, over one association."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from worker.archive import errors
from worker.archive.associations import (
    OUT_OF_RESOURCES,
    SUCCESS,
    association,
    error_of_status,
    final_code,
)
from worker.archive.find.answers import Answer, AnswerCompleteness, Keys, found_studies
from worker.archive.presentation_contexts import query_context
from worker.errors import PneumoError, Unavailable
from worker.peers.peers_file import Peer
from worker.settings import Settings

_RETURNED = ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")


@contextmanager
def open_c_find(peer: Peer, settings: Settings) -> Iterator[CFind]:
    """Open an archive for C-FIND. Raises as `association`."""
    with association(peer, settings, [query_context(StudyRootFind)]) as opened:
        yield CFind(peer, opened)


class CFind:
    """An archive that is queried over an established association; an `Archive`."""

    def __init__(self, peer: Peer, opened: Any) -> None:
        self._peer, self._opened = peer, opened

    def studies(self, keys: Keys) -> Answer:
        """Return the studies that match, and whether these are all (PS3.4 C.4.1.1.4).

        The standard has no status for "there is more": archives with a limit say that they are out
        of resources, warn (Bxxx), cancel it themselves (FE00), or fail after some matches.
        """
        matches, error = self._send("STUDY", dict.fromkeys(_RETURNED, "") | keys)
        studies = found_studies(matches)
        if error is None:
            return Answer(studies=studies)
        if studies or isinstance(error, Unavailable):  # out of resources
            return Answer(studies=studies, completeness=AnswerCompleteness.NO, error=error)
        raise error

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """Return the SOP Instance UIDs of a series."""
        keys = {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        }
        uids = (str(match.get("SOPInstanceUID") or "") for match in self.matches("IMAGE", keys))
        return frozenset(filter(None, uids))

    def matches(self, level: str, keys: Keys) -> list[Dataset]:
        """Return all matches at a Query/Retrieve Level. Raises Unavailable, Transient SEARCH_FAILED."""
        matches, error = self._send(level, keys)
        if error is not None:
            raise error
        return matches

    def _send(self, level: str, keys: Keys) -> tuple[list[Dataset], PneumoError | None]:
        """Return the matches, and the failure that the final status means.

        Raises Unavailable if there is no final status.
        """
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        if not self._opened.is_established:
            raise errors.away(self._peer, "broke off the association")
        matches, last = [], Dataset()
        for status, match in self._opened.send_c_find(query, StudyRootFind):
            last = status
            if match is not None:
                matches.append(match)
        code = final_code(self._peer, last)
        if code == SUCCESS:
            return matches, None
        if code in OUT_OF_RESOURCES:
            return matches, error_of_status(self._peer, code)
        return matches, errors.search_failed(self._peer, f"status {code:04X}")
