"""WADO-RS (PS3.18 10.4): a whole study in one answer, each image written to disk as it comes.

dicomweb-client's own retrieval makes a Dataset of every image, which is neither byte for byte nor
bounded in memory, and takes a truncated answer for a complete one; so only searches use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain

import requests
import urllib3

from worker.archive import errors
from worker.archive.dicomweb import dicomweb_session, error_of_status, timeouts
from worker.archive.retrieve.multipart import MultipartError, boundary_of, parts
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.settings import Settings

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Images as the archive stores them (PS3.18 8.7.3.5.2): transcoding costs time and may be lossy.

Without a second choice and its weight: Orthanc refuses a request that has one.
"""
CHUNK = 1 << 18


def retrieve_study(retrieval: Retrieval, settings: Settings) -> RetrieveResult:
    """Retrieve every image of the study.

    Raises as `dicomweb_session`, RETRIEVE_INCOMPLETE, and the first refusal if no image could be kept.
    """
    peer = retrieval.peer
    url = f"{(peer.dicomweb or '').rstrip('/')}/studies/{retrieval.study_instance_uid}"
    headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
    with (
        dicomweb_session(peer, settings) as session,
        session.get(url, headers=headers, stream=True, timeout=timeouts(settings)) as response,
    ):
        if response.status_code != HTTPStatus.OK:
            raise error_of_status(peer, response.status_code)
        try:
            _keep_all(retrieval, response)
        except MultipartError:
            raise errors.incomplete(peer, len(retrieval.images), None) from None
        except urllib3.exceptions.HTTPError:
            retrieval.refuse_broken_off()
            raise
    retrieval.refuse_nothing_kept()
    if not retrieval.images:
        raise errors.not_there(peer)
    return retrieval.result(None)


def _keep_all(retrieval: Retrieval, response: requests.Response) -> None:
    chunks = _chunks(retrieval, response)
    content_type = response.headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/dicom":  # some servers do not wrap a single image
        if first := next(chunks, b""):
            retrieval.keep(chain([first], chunks))
        return
    boundary = boundary_of(content_type)
    if media_type != "multipart/related" or boundary is None:
        raise errors.failed(retrieval.peer, "its answer is no multipart/related message")
    for part in parts(chunks, boundary):
        retrieval.keep(part)


def _chunks(retrieval: Retrieval, response: requests.Response) -> Iterator[bytes]:
    """Yield bytes as soon as they arrive: a trickle must not outlast the deadline unseen."""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        retrieval.refuse_too_late()
        yield chunk
