"""Ask an archive how many images a study has, so that a complete study is closed without waiting.

This runs in a thread beside the relay: an archive that is slow or away must not delay any other study.
If the archive does not answer, the idle window closes the study as it would without this.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from db.engine.session import Database
from db.studies.completeness import close_if_complete, open_studies, own_objects_by_series
from db.values import OpenStudy
from worker.archive import errors
from worker.archive.circuit_breaker import RecordedCircuitBreaker
from worker.archive.find.answers import Archive
from worker.archive.find.search import count_images, open_search
from worker.archive.repeating_thread import RepeatingThread
from worker.errors import PneumoError, Rejected, Unavailable
from worker.logging import get_logger
from worker.peers.peers_file import Peer, Peers, read_peers
from worker.settings import Settings

log = get_logger(__name__)

INTERVAL_S = 1.0
RECHECK_S = 5.0
"""Shortest time between two queries for the same study."""
BATCH = 50
"""Studies in one run: a burst is no reason to flood the archive."""
PEERS_SUBJECT = "file of peers"


class CompletenessChecker:
    """`run_once` queries the archives once for every study that may be complete."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._breaker = RecordedCircuitBreaker(settings, database)
        self._queried_at: dict[str, float] = {}
        """Study key -> time of its last query, by the monotonic clock."""
        self._available: set[str] = set()
        """Subjects whose conditions this process has ended, and noted none since."""

    def run_once(self) -> int:
        """Close the studies that the archives say are complete; return how many."""
        peers = self._peers()
        if not peers:
            return 0
        by_peer: dict[Peer, list[OpenStudy]] = defaultdict(list)
        for study in self._due():
            if (peer := _archive_for(study, peers)) is not None:
                by_peer[peer].append(study)
        return sum(self._close_complete(peer, studies) for peer, studies in by_peer.items())

    def _peers(self) -> Peers:
        """Read the file at each run: a corrected file is used at once, an invalid one ends nothing."""
        try:
            peers = read_peers(self._settings.peers).with_role("count")
        except Rejected as error:
            condition = Unavailable(error.code, error.sentence, subject=PEERS_SUBJECT)
            self._log_failure(condition)
            self._breaker.note(condition)
            return Peers()
        self._record_success(PEERS_SUBJECT)
        return peers

    def _due(self) -> list[OpenStudy]:
        with self._database.reading() as session:
            waiting = open_studies(session, quiet_s=self._settings.count_quiet_s, limit=BATCH)
        moment = time.monotonic()
        due = [
            study
            for study in waiting
            if moment - self._queried_at.get(study.study_key, -math.inf) >= RECHECK_S
        ]
        keys = {study.study_key for study in waiting}
        self._queried_at = {key: at for key, at in self._queried_at.items() if key in keys}
        self._queried_at |= {study.study_key: moment for study in due}
        return due

    def _close_complete(self, peer: Peer, studies: Iterable[OpenStudy]) -> int:
        subject, closed = errors.subject_of(peer.name), 0
        try:
            self._breaker.refuse_when_open(subject)
            with open_search(peer, self._settings, str(peer.count)) as archive:
                for study in studies:
                    closed += self._close_if_complete(peer, archive, study)
        except Unavailable as error:
            if not error.wait_s:
                self._log_failure(error)
                self._breaker.record_failure(error)
            return closed
        except PneumoError as error:  # the answer cannot be read
            log.warning("count_failed", peer=peer.name, code=error.code)
            return closed
        self._record_success(subject)
        return closed

    def _close_if_complete(self, peer: Peer, archive: Archive, study: OpenStudy) -> bool:
        """Close a study that is complete; one whose count fails must not delay the next."""
        try:
            count = self._count(archive, study)
        except Unavailable:
            raise
        except PneumoError as error:  # the idle window will close the study
            log.warning("count_failed", peer=peer.name, code=error.code)
            return False
        return bool(count and count <= study.instances and self._close(study, count))

    def _count(self, archive: Archive, study: OpenStudy) -> int | None:
        """Return the number of images without our results, which the archive counts in once it has them."""
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

    def _log_failure(self, error: Unavailable) -> None:
        self._available.discard(error.subject)
        log.warning("archive_condition", subject=error.subject, code=error.code)

    def _record_success(self, subject: str) -> None:
        if subject not in self._available:
            self._breaker.record_success(subject)
            self._available.add(subject)


def _archive_for(study: OpenStudy, peers: Sequence[Peer]) -> Peer | None:
    """Return the archive that sent a study, else the first that counts: modalities send there too."""
    for peer in peers:
        if peer.ae_title is not None and peer.ae_title == study.site_ae_title:
            return peer
    return peers[0] if peers else None


def start_completeness_thread(settings: Settings, stop: threading.Event) -> threading.Thread | None:
    """Start a thread that checks until `stop`; None if there is no file of peers."""
    if settings.peers is None:
        return None
    thread = _CompletenessThread(settings, stop)
    thread.start()
    return thread


class _CompletenessThread(RepeatingThread):
    """Checks over database connections of its own."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._database = Database(settings.database_url)
        checker = CompletenessChecker(settings, self._database)
        super().__init__(
            "counting", [checker.run_once],
            interval_s=INTERVAL_S, failure_event="counting_turn_failed", stop=stop,
        )  # fmt: skip

    def run(self) -> None:
        """Check until `stop`, then close the connections."""
        super().run()
        self._database.dispose()
