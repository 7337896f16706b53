"""Asking an archive how many images a study has, so that a complete one need not wait.

A thread of its own beside the relay: an archive that is slow or away must not hold up a study of
anybody. What it does not say changes nothing; the idle window closes the study as without it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from db.studies.completeness import close_if_complete, open_studies, own_objects_by_series
from db.values import OpenStudy
from worker.archive import errors
from worker.archive.circuit_breaker import CircuitBreaker
from worker.archive.find.search import Archive, count_images, open_search
from worker.errors import PneumoError, Rejected, Unavailable
from worker.logging import get_logger
from worker.peers.peers_file import Peer, Peers, read_peers
from worker.settings import Settings

log = get_logger(__name__)

INTERVAL_S = 1.0
RECHECK_S = 5.0
"""The same study is asked for at most so often."""
BATCH = 50
"""Studies in one turn: a burst is no reason to flood the archive."""


class CompletenessChecker:
    """`turn` asks once for every study that may be complete."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._breaker = CircuitBreaker(settings)
        self._asked: dict[str, float] = {}
        """Study key -> when, by the monotonic clock."""
        self._well: set[str] = set()
        """Subjects whose conditions this process has ended, and noted none since."""

    def run_once(self) -> int:
        """Close what the archives say is complete; returns how many were."""
        peers = self._peers()
        if not peers:
            return 0
        by_peer: dict[Peer, list[OpenStudy]] = defaultdict(list)
        for study in self._due():
            if (peer := _archive_for(study, peers)) is not None:
                by_peer[peer].append(study)
        return sum(self._ask(peer, studies) for peer, studies in by_peer.items())

    def _peers(self) -> Peers:
        """Read each time: a file that is corrected is used at once, a wrong one ends nothing."""
        subject = "file of peers"
        try:
            peers = read_peers(self._settings.peers).with_role("count")
        except Rejected as error:
            self._note(subject, error)
            return Peers()
        self._end(subject)
        return peers

    def _due(self) -> list[OpenStudy]:
        with self._database.reading() as session:
            waiting = open_studies(session, quiet_s=self._settings.count_quiet_s, limit=BATCH)
        moment = time.monotonic()
        due = [
            study
            for study in waiting
            if moment - self._asked.get(study.study_key, -math.inf) >= RECHECK_S
        ]
        keys = {study.study_key for study in waiting}
        self._asked = {key: at for key, at in self._asked.items() if key in keys}
        self._asked |= {study.study_key: moment for study in due}
        return due

    def _ask(self, peer: Peer, studies: Iterable[OpenStudy]) -> int:
        subject, closed = errors.subject_of(peer), 0
        try:
            self._breaker.refuse_when_open(subject)
            with open_search(peer, self._settings, str(peer.count)) as archive:
                for study in studies:
                    closed += self._close_if_complete(peer, archive, study)
        except Unavailable as error:
            if not error.wait_s:
                self._breaker.record_failure(error)
                self._note(subject, error)
            return closed
        except PneumoError as error:  # no answer that we know how to read
            log.warning("count_failed", peer=peer.name, code=error.code)
            return closed
        self._breaker.record_success(subject)
        self._end(subject)
        return closed

    def _close_if_complete(self, peer: Peer, archive: Archive, study: OpenStudy) -> bool:
        """A study of which it cannot say the number must not hold up the next."""
        try:
            count = self._count(archive, study)
        except Unavailable:
            raise
        except PneumoError as error:  # it answers, and cannot say: the idle window will
            log.warning("count_failed", peer=peer.name, code=error.code)
            return False
        return bool(count and count <= study.instances and self._close(study, count))

    def _count(self, archive: Archive, study: OpenStudy) -> int | None:
        """Images alone: once our results are in the archive, it counts them in."""
        uid = study.study_instance_uid
        count = count_images(archive, uid)
        if count is None or count <= study.instances:
            return count
        with self._database.reading() as session:
            own = own_objects_by_series(session, study.study_key)
        return count_images(archive, uid, own=own) if own else count

    def _close(self, study: OpenStudy, count: int) -> bool:
        with self._database.transaction() as session:
            closed = close_if_complete(session, study.study_key, count)
        if closed:
            log.info("study_counted", study_key=study.study_key, instances=count)
        return closed

    def _note(self, subject: str, error: PneumoError) -> None:
        self._well.discard(subject)
        log.warning("archive_condition", subject=subject, code=error.code)
        with self._database.transaction() as session:
            note_condition(session, subject, error.code, error.sentence)

    def _end(self, subject: str) -> None:
        if subject not in self._well:
            with self._database.transaction() as session:
                end_condition(session, subject)
            self._well.add(subject)


def _archive_for(study: OpenStudy, peers: Sequence[Peer]) -> Peer | None:
    """The archive that sent it, else the first that counts: what a modality sends goes there too."""
    for peer in peers:
        if peer.ae_title is not None and peer.ae_title == study.site_ae_title:
            return peer
    return peers[0] if peers else None


def start_completeness_thread(settings: Settings, stop: threading.Event) -> threading.Thread | None:
    """Count in a thread of its own until `stop`; None if there is no file of peers."""
    if settings.peers is None:
        return None
    thread = threading.Thread(target=_run, args=(settings, stop), name="counting", daemon=True)
    thread.start()
    return thread


def _run(settings: Settings, stop: threading.Event) -> None:
    database = Database(settings.database_url)
    counting = CompletenessChecker(settings, database)
    while not stop.wait(INTERVAL_S):
        try:
            counting.run_once()
        except Exception as error:  # noqa: BLE001  one bad turn must not end the thread
            log.warning("counting_turn_failed", error_type=type(error).__qualname__)
    database.dispose()
