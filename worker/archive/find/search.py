"""Search an archive: the studies of a day, and the number of images of a study."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from worker.archive.find.answers import Archive, FoundStudy
from worker.archive.find.c_find import open_c_find
from worker.archive.find.qido_rs import open_qido
from worker.archive.find.truncated_answers import Truncation, find_whole_day
from worker.peers.peers_file import Peer
from worker.settings import Settings


@dataclass(frozen=True, kw_only=True)
class FoundDay:
    """The studies that an archive has of a day."""

    studies: tuple[FoundStudy, ...] = field(repr=False)
    """Each once."""
    truncation: Truncation | None = None
    """Why the archive may have more than it returned."""


def find_day(
    peer: Peer, settings: Settings, day: date, modalities: Collection[str] = ()
) -> FoundDay:
    """Return the studies of one day that have one of these modalities.

    Queries modality by modality, as matching takes a single value, and filters the answers again:
    many archives do not match (0008,0061), or do not even return it. A study without it is kept,
    since eligibility is judged image by image anyway. A truncated answer is queried again in
    shorter spans of time. Raises as `association` and `dicomweb_session`.
    """
    found: dict[str, FoundStudy] = {}
    truncation: Truncation | None = None
    requested = frozenset(modalities)
    with open_search(peer, settings, str(peer.search)) as archive:
        for modality in sorted(requested) or [""]:
            studies, cause = find_whole_day(archive, day, modality, limit=peer.search_limit)
            truncation = truncation or cause
            for study in studies:
                if not requested or not study.modalities or study.modalities & requested:
                    found.setdefault(study.study_instance_uid, study)
    return FoundDay(studies=tuple(found.values()), truncation=truncation)


def count_images(
    archive: Archive, study_instance_uid: str, *, own: Mapping[str, Collection[str]] | None = None
) -> int | None:
    """Return how many images the archive has of a study; None if it has no such study or does not say.

    `own`: our results of the study, SOP Instance UIDs by Series Instance UID. An archive counts
    them in, so they are looked up there and subtracted. They are looked up before the count: what
    arrives in between makes the count too large, and never too small.
    """
    own_in_archive = sum(
        len(archive.instances(study_instance_uid, series) & frozenset(uids))
        for series, uids in (own or {}).items()
    )
    study = look_up(archive, study_instance_uid)
    return None if study is None or study.instances is None else study.instances - own_in_archive


def look_up(archive: Archive, study_instance_uid: str) -> FoundStudy | None:
    """Return what the archive says of a study; None if it has no such study."""
    answer = archive.studies({"StudyInstanceUID": study_instance_uid})
    if answer.error is not None and not answer.studies:
        raise answer.error
    return answer.by_uid.get(study_instance_uid)


@contextmanager
def open_search(peer: Peer, settings: Settings, way: str) -> Iterator[Archive]:
    """Open a connection for any number of queries, by "c-find" or "qido-rs"."""
    with (open_qido if way == "qido-rs" else open_c_find)(peer, settings) as archive:
        yield archive
