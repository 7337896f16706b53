"""WADO-RS (PS3.18 10.4): a whole study in one answer, each image written to disk as it comes.

dicomweb-client's own retrieval makes a Dataset of every image, which is neither byte for byte nor
bounded, and takes an answer that breaks off for one that has ended; so only searches go through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import requests
import urllib3

from worker.archive import errors
from worker.archive.dicomweb import dicomweb_session, refuse_status, timeouts
from worker.archive.retrieve.multipart import MultipartError, boundary_of, parts
from worker.archive.retrieve.retrieval import Retrieval, RetrieveResult
from worker.settings import Settings

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As the archive keeps them (PS3.18 8.7.3.5.2): transcoding costs it time, and may lose something.

Alone, without a second choice and its weight: Orthanc refuses a request that has one.
"""
CHUNK = 1 << 18


def retrieve_study(fetching: Retrieval, settings: Settings) -> RetrieveResult:
    """Every image of the study. Raises as `dicomweb_session`, RETRIEVE_INCOMPLETE, what refused all."""
    peer = fetching.peer
    url = f"{(peer.dicomweb or '').rstrip('/')}/studies/{fetching.study_instance_uid}"
    headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
    with (
        dicomweb_session(peer, settings) as session,
        session.get(url, headers=headers, stream=True, timeout=timeouts(settings)) as response,
    ):
        refuse_status(peer, response.status_code)
        try:
            _keep_all(fetching, response)
        except MultipartError:
            raise errors.incomplete(peer, len(fetching.images), None) from None
        except urllib3.exceptions.HTTPError:
            fetching.refuse_broken_off()
            raise
    fetching.refuse_nothing_kept()
    if not fetching.images:
        raise errors.not_there(peer)
    return fetching.result(None)


def _keep_all(fetching: Retrieval, response: requests.Response) -> None:
    chunks = _chunks(fetching, response)
    content_type = response.headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/dicom":  # some servers do not wrap a single image
        if first := next(chunks, b""):
            fetching.keep(chain([first], chunks))
        return
    boundary = boundary_of(content_type)
    if media_type != "multipart/related" or boundary is None:
        raise errors.failed(fetching.peer, "its answer is no multipart/related message")
    for part in parts(chunks, boundary):
        fetching.keep(part)


def _chunks(fetching: Retrieval, response: requests.Response) -> Iterator[bytes]:
    """What has come, as soon as it has come: a trickle must not outlast the deadline unseen."""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        fetching.refuse_too_late()
        yield chunk
