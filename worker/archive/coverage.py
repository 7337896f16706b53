"""Compare an archive with what was predicted, refused, failed, waits, or was never seen here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from db.engine.session import Database
from db.studies.overview import archived_study_statuses
from db.values import ArchivedStudyStatus
from db.vocabulary.enums import StudyState, Verdict
from worker.archive.find.search import find_day
from worker.archive.find.truncated_answers import Truncation
from worker.peers.peers_file import Peer
from worker.settings import Settings


class CoverageStatus(StrEnum):
    """The state here of one study of the archive."""

    PREDICTED = "predicted"
    """The study has a verdict, positive or negative."""
    REFUSED = "refused"
    """Nothing in the study was eligible."""
    FAILED = "failed"
    """The study is parked."""
    WAITING = "waiting"
    """The study is here, or ordered, and has no result yet."""
    NEVER_SEEN = "never seen"
    """Nobody sent or ordered the study."""


@dataclass(frozen=True, kw_only=True)
class DayCoverage:
    """The coverage of one day of an archive."""

    day: date
    counts: Counter[CoverageStatus]
    """Studies."""
    codes: Counter[tuple[CoverageStatus, str]]
    """Studies that were refused or failed, by code."""
    never_seen: tuple[str, ...] = field(repr=False)
    """Study Instance UIDs; for a file on request, never for a screen."""
    truncation: Truncation | None
    """Why the archive may have more than it returned."""


def cover_day(
    peer: Peer, settings: Settings, database: Database, day: date, modalities: Sequence[str] = ()
) -> DayCoverage:
    """Search the archive for a day and look up each study here. Raises as `find_day`."""
    found = find_day(peer, settings, day, modalities)
    uids = [study.study_instance_uid for study in found.studies]
    with database.reading() as session:
        known = archived_study_statuses(session, uids)
    statuses = {uid: coverage_status(known.get(uid)) for uid in uids}
    return DayCoverage(
        day=day,
        truncation=found.truncation,
        counts=Counter(statuses.values()),
        codes=Counter(
            (status, known[uid].code or "no code")
            for uid, status in statuses.items()
            if status in (CoverageStatus.REFUSED, CoverageStatus.FAILED)
        ),
        never_seen=tuple(
            uid for uid, status in statuses.items() if status is CoverageStatus.NEVER_SEEN
        ),
    )


def coverage_status(here: ArchivedStudyStatus | None) -> CoverageStatus:
    """Return the status of a study; `here`: what the database has of it, None if nothing."""
    if here is None:
        return CoverageStatus.NEVER_SEEN
    if here.state is StudyState.PARKED:
        return CoverageStatus.FAILED
    if here.state is not StudyState.DONE:
        return CoverageStatus.WAITING
    return CoverageStatus.REFUSED if here.verdict is Verdict.REJECTED else CoverageStatus.PREDICTED
