"""Of what an archive has, what was predicted, refused, failed, waits, or was never seen here."""

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
from worker.archive.find.search import Truncation, find_day
from worker.peers.peers_file import Peer
from worker.settings import Settings


class CoverageStatus(StrEnum):
    """What became of one study of the archive."""

    PREDICTED = "predicted"
    """It has a verdict, positive or negative."""
    REFUSED = "refused"
    """Nothing in it was eligible."""
    FAILED = "failed"
    """It is parked."""
    WAITING = "waiting"
    """It is here, or ordered, and has no result yet."""
    NEVER_SEEN = "never seen"
    """Nobody sent or ordered it."""


@dataclass(frozen=True, kw_only=True)
class DayCoverage:
    """One day of an archive."""

    day: date
    counts: Counter[CoverageStatus]
    """Studies."""
    codes: Counter[tuple[CoverageStatus, str]]
    """Studies that were refused or failed, by code."""
    never_seen: tuple[str, ...] = field(repr=False)
    """Study Instance UIDs; for a file that somebody asked for, never for a screen."""
    truncation: Truncation | None
    """Why the archive may have more than it told."""


def cover_day(
    peer: Peer, settings: Settings, database: Database, day: date, modalities: Sequence[str] = ()
) -> DayCoverage:
    """Ask the archive for a day and look up each study here. Raises as `find_day`."""
    found = find_day(peer, settings, day, modalities)
    uids = [study.study_instance_uid for study in found.studies]
    with database.reading() as session:
        known = archived_study_statuses(session, uids)
    became = {uid: coverage_status(known.get(uid)) for uid in uids}
    return DayCoverage(
        day=day,
        truncation=found.truncation,
        counts=Counter(became.values()),
        codes=Counter(
            (what, known[uid].code or "no code")
            for uid, what in became.items()
            if what in (CoverageStatus.REFUSED, CoverageStatus.FAILED)
        ),
        never_seen=tuple(uid for uid, what in became.items() if what is CoverageStatus.NEVER_SEEN),
    )


def coverage_status(standing: ArchivedStudyStatus | None) -> CoverageStatus:
    """One word for what a study has come to."""
    if standing is None:
        return CoverageStatus.NEVER_SEEN
    if standing.state is StudyState.PARKED:
        return CoverageStatus.FAILED
    if standing.state is not StudyState.DONE:
        return CoverageStatus.WAITING
    return (
        CoverageStatus.REFUSED if standing.verdict is Verdict.REJECTED else CoverageStatus.PREDICTED
    )
