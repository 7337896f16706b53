"""QIDO-RS (PS3.18 10.6), page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import requests
from dicomweb_client import DICOMwebClient

from worker.archive import errors
from worker.archive.dicomweb import dicomweb_session, error_of_status, timeouts
from worker.archive.find.answers import (
    Answer,
    AnswerCompleteness,
    Archive,
    FoundStudy,
    Keys,
    found_studies,
)
from worker.errors import Unavailable
from worker.peers.peers_file import Peer
from worker.settings import Settings

PAGE_SIZE = 200
"""Studies requested at once; the next page is requested from servers that give fewer all the same."""
MIN_PAGE_SIZE = 10
"""No server has smaller pages: as many studies or more, without a second page, may be truncated."""
WARNING_TRUNCATED = "299"
"""Warning of a server whose limit truncated its answer (PS3.18 8.3.4.4)."""


@contextmanager
def open_qido(peer: Peer, settings: Settings) -> Iterator[Archive]:
    """Open an archive for QIDO-RS. Raises as `dicomweb_session`."""
    with dicomweb_session(peer, settings) as session:
        yield _Qido(peer, settings, session)


class _Qido:
    def __init__(self, peer: Peer, settings: Settings, session: requests.Session) -> None:
        self._peer = peer
        self._warned = False
        session.hooks["response"].append(self._note_warning)
        self._client = DICOMwebClient(
            (peer.dicomweb or "").rstrip("/"), session=session, timeout=timeouts(settings)
        )
        self._client.set_http_retry_params(retry=False)  # we wait longer than it would

    def studies(self, keys: Keys) -> Answer:
        filters = {keyword: value for keyword, value in keys.items() if value}
        found: dict[str, FoundStudy] = {}
        offset = 0
        while True:
            page = self._page(filters, offset=offset)
            known = len(found)
            for study in found_studies(map(_by_keyword, page)):
                found.setdefault(study.study_instance_uid, study)
            answer = Answer(studies=tuple(found.values()))
            if "StudyInstanceUID" in filters or not page:
                return answer
            if len(found) == known:
                return replace(answer, completeness=self._of_repeated(len(page)))
            offset += len(page)

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        answers = self._search(
            lambda: self._client.search_for_instances(
                study_instance_uid=study_instance_uid,
                series_instance_uid=series_instance_uid,
                limit=PAGE_SIZE,
            ),
            may_be_absent=True,
        )
        uids = (uid for answer in answers for uid in _values(answer, "00080018")[:1])
        return frozenset(str(uid) for uid in uids if uid)

    def _page(self, filters: Keys, *, offset: int) -> list[Any]:
        return self._search(
            lambda: self._client.search_for_studies(
                limit=PAGE_SIZE,
                offset=offset,
                fields=["ModalitiesInStudy", "NumberOfStudyRelatedInstances"],
                search_filters=dict(filters),
            ),
            may_be_absent="StudyInstanceUID" in filters,
        )

    def _search(self, search: Callable[[], Any], *, may_be_absent: bool) -> list[Any]:
        """Return the answers of a search; translate its failures into our errors.

        `may_be_absent`: the search names a study or series, so that 404 may mean that there is
        none. For any other search 404 means that `dicomweb` is wrong: no match is 204 or an empty
        list (PS3.18 8.3.4.1), and an archive must not look empty because its address is wrong.
        """
        try:
            answers = search()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == HTTPStatus.NOT_FOUND and may_be_absent:
                return []
            ours = error_of_status(self._peer, status)
            if isinstance(ours, Unavailable):
                raise ours from None
            raise errors.search_failed(self._peer, f"HTTP status {status}") from None
        if not isinstance(answers, list):
            raise errors.search_failed(self._peer, "its answer is no list")
        return answers

    def _of_repeated(self, page: int) -> AnswerCompleteness:
        """Judge a server that ignores the offset: it gives its first page again for every other."""
        if self._warned:
            return AnswerCompleteness.NO
        return AnswerCompleteness.UNSURE if page >= MIN_PAGE_SIZE else AnswerCompleteness.YES

    def _note_warning(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._warned = response.headers.get("Warning", "").startswith(WARNING_TRUNCATED)


_TAGS = {
    "StudyInstanceUID": "0020000D",
    "ModalitiesInStudy": "00080061",
    "NumberOfStudyRelatedInstances": "00201208",
}


def _by_keyword(answer: Any) -> dict[str, Any]:
    """Return the elements of the DICOM JSON model (PS3.18 F.2) that we read, by keyword."""
    elements = {keyword: _values(answer, tag) for keyword, tag in _TAGS.items()}
    return {
        keyword: values if keyword == "ModalitiesInStudy" else values[0]
        for keyword, values in elements.items()
        if values
    }


def _values(answer: Any, tag: str) -> list[Any]:
    element = answer.get(tag) if isinstance(answer, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
