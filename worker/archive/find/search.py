"""What an archive has: its studies of a day, and how many images one of them holds."""

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

__all__ = [
    "Archive",
    "FoundDay",
    "FoundStudy",
    "Truncation",
    "count_images",
    "find_day",
    "look_up",
    "open_search",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FoundDay:
    """What an archive has of a day."""

    studies: tuple[FoundStudy, ...] = field(repr=False)
    """Each once."""
    truncation: Truncation | None = None
    """Why it may have more than it told."""


def find_day(
    peer: Peer, settings: Settings, day: date, modalities: Collection[str] = ()
) -> FoundDay:
    """The studies of one day that have one of these modalities.

    Asked modality by modality, as matching takes a single value, and looked over again: many
    archives do not match (0008,0061), or do not even give it; what does not say its modalities is
    kept, since eligibility is judged image by image anyway. An answer that was cut off is asked for
    again in shorter spans of time. Raises as `association` and `dicomweb_session`.
    """
    found: dict[str, FoundStudy] = {}
    doubt: Truncation | None = None
    wanted = frozenset(modalities)
    with open_search(peer, settings, str(peer.search)) as archive:
        for modality in sorted(wanted) or [""]:
            told, unsure = find_whole_day(archive, day, modality, limit=peer.search_limit)
            doubt = doubt or unsure
            for study in told:
                if not wanted or not study.modalities or study.modalities & wanted:
                    found.setdefault(study.study_instance_uid, study)
    return FoundDay(studies=tuple(found.values()), truncation=doubt)


def count_images(
    archive: Archive, study_instance_uid: str, *, own: Mapping[str, Collection[str]] | None = None
) -> int | None:
    """How many images the archive has of a study; None if it does not know it or does not say.

    `own`: what we sent of ours into the study, SOP Instance UIDs by Series Instance UID. An archive
    counts them in, so they are looked up there and left out: before the count is asked for, since
    what arrives in between then makes the count too large, and never too small.
    """
    there = sum(
        len(archive.instances(study_instance_uid, series) & frozenset(uids))
        for series, uids in (own or {}).items()
    )
    study = look_up(archive, study_instance_uid)
    return None if study is None or study.instances is None else study.instances - there


def look_up(archive: Archive, study_instance_uid: str) -> FoundStudy | None:
    """What the archive says of a study; None if it does not know it."""
    answer = archive.studies({"StudyInstanceUID": study_instance_uid})
    if answer.error is not None and not answer.studies:
        raise answer.error
    return answer.by_uid.get(study_instance_uid)


@contextmanager
def open_search(peer: Peer, settings: Settings, way: str) -> Iterator[Archive]:
    """A connection over which any number of questions can be asked, by "c-find" or "qido-rs"."""
    with (open_qido if way == "qido-rs" else open_c_find)(peer, settings) as archive:
        yield archive
