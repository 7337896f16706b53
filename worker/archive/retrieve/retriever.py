"""The step before reading: an ordered study's images are brought to this machine's disk.

A study that was sent to us passes by. One whose files are not on this disk, since another node
fetched them, is fetched again: so nodes that fetch need share nothing but the database.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from db.studies.orders import instances_here, origin_of, record_fetch
from db.studies.transitions import FETCHED_BY_US
from db.values import Claim, ClaimedInstance, Origin, ReceivedStudy
from db.vocabulary.enums import Priority, RetrieveWay
from db.vocabulary.errors import FetchedContentDiffers
from worker.archive import errors
from worker.archive.circuit_breaker import CircuitBreaker
from worker.archive.find.search import FoundStudy, look_up, open_search
from worker.archive.retrieve import c_get, c_move, wado_rs
from worker.archive.retrieve.disk import NO_ROOM_CODES, RetrieveDisk
from worker.archive.retrieve.missing_objects import find_missing_objects
from worker.archive.retrieve.retrieval import NOT_GIVEN, Images, Retrieval, RetrieveResult
from worker.archive.retrieve.thread_limit import RetrieveLimit
from worker.errors import PneumoError, Rejected, Resource, Transient, Unavailable
from worker.intake.own_results import is_own_result
from worker.intake.received_study import received_study
from worker.logging import get_logger
from worker.peers.peers_file import Peer, read_peers
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage
from worker.transactions import in_transaction

log = get_logger(__name__)

BY_ADDRESS = "by-address"
"""How a DICOMweb server is called that stands in no file."""
SHARE_OF_LIMIT = 0.5
"""Of `study_limit_s`, for fetching; the rest is for the network's work."""
_WAYS = {
    RetrieveWay.WADO_RS: wado_rs.retrieve_study,
    RetrieveWay.C_GET: c_get.retrieve_study,
    RetrieveWay.C_MOVE: c_move.retrieve_study,
}


class Retriever:
    """What a worker fetches with; its memory of archives that are away is this process's."""

    def __init__(self, settings: Settings, database: Database, storage: IntakeStorage) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._breaker = CircuitBreaker(settings)
        self._limit = RetrieveLimit(settings.fetches_at_once)
        self.disk = RetrieveDisk(settings, database, self._breaker)

    def ensure_images(self, claimed: Claim) -> Claim:
        """The claim with all instances of its study, their files on this disk.

        Raises Away while the archive, the site's words about it or a full disk are at fault,
        Transient (RETRIEVE_FAILED, RETRIEVE_INCOMPLETE), Rejected (STUDY_NOT_IN_ARCHIVE,
        OTHER_STUDY, FETCHED_OTHERWISE), Later while enough others are being fetched, and
        StaleClaim.
        """
        if claimed.source not in FETCHED_BY_US:
            return claimed
        with self._database.reading() as session:
            origin = origin_of(session, claimed)
        absent = self._absent(claimed.instances)
        if origin is None or not _must_be_fetched(origin, absent):
            return claimed
        began = time.monotonic()
        try:
            self.disk.refuse_when_full()
            peer = archive_of(origin, self._settings)
            self._breaker.refuse_when_open(errors.subject_of(peer))
            with self._limit.slot(stat=Priority(claimed.priority) is Priority.STAT):
                fetched = self._fetch(origin, peer)
        except Unavailable as error:
            raise self._record_failure(error) from None
        instances = self._record(claimed, peer, fetched, absent)
        log.info(
            "study_fetched",
            peer=peer.name,
            way=origin.way.value,
            instances=len(instances),
            seconds=round(time.monotonic() - began, 3),
        )
        return replace(claimed, instances=instances)

    def _absent(self, instances: tuple[ClaimedInstance, ...]) -> frozenset[str]:
        # What left by the retention rule keeps its outcome and is not fetched for it again.
        names = {instance.file_name for instance in instances if not instance.file_removed}
        return frozenset(name for name in names if not self._storage.path_of(name).is_file())

    def _fetch(self, origin: Origin, peer: Peer) -> RetrieveResult:
        fetching = Retrieval(
            peer=peer,
            study_instance_uid=origin.study_instance_uid,
            storage=self._storage,
            deadline=time.monotonic() + self._settings.study_limit_s * SHARE_OF_LIMIT,
        )
        nobody = {"tls_certificate": None, "tls_key": None}
        settings = self._settings if origin.peer else self._settings.model_copy(update=nobody)
        try:
            fetched = _WAYS[origin.way](fetching, settings)
        except (Transient, Rejected) as error:
            raise self._classify_by_search(error, origin, peer) from None
        except Resource as error:
            if error.code in NO_ROOM_CODES:
                raise self.disk.away(error) from None
            raise
        if fetched.expected is None and peer.count:
            found = self._look_up(origin, peer)
            return replace(fetched, expected=found.instances if found else None)
        return fetched

    def _classify_by_search(self, error: PneumoError, origin: Origin, peer: Peer) -> PneumoError:
        """Some archives only say "unable" of an unknown study, some say "unknown" of one they have."""
        says = {errors.RETRIEVE_FAILED, errors.STUDY_NOT_IN_ARCHIVE}
        if error.code not in says or not (peer.count or peer.search):
            return error
        if self._look_up(origin, peer) is None:
            return errors.not_there(peer)
        if error.code == errors.STUDY_NOT_IN_ARCHIVE:
            return errors.failed(peer, "it knows the study, and gives nothing of it")
        return error

    def _look_up(self, origin: Origin, peer: Peer) -> FoundStudy | None:
        with open_search(peer, self._settings, str(peer.count or peer.search)) as archive:
            return look_up(archive, origin.study_instance_uid)

    def _record(
        self, claimed: Claim, peer: Peer, fetched: RetrieveResult, absent: frozenset[str]
    ) -> tuple[ClaimedInstance, ...]:
        """Rows, and the end of the condition; nothing if fewer are here than the archive has."""
        subject = errors.subject_of(peer)
        images = self._without_own(fetched)
        if fetched.images and not images:
            raise errors.not_there(peer)
        received = _received(claimed, images)
        if received is None:
            with self._database.reading() as session:
                here = instances_here(session, claimed)
        else:
            here = {header.sop_instance_uid for _, header in images}
        missing, expected = dict(fetched.missing), fetched.expected
        own = len(fetched.images) - len(images)
        if received is None and (not here or (expected is not None and len(here) < expected)):
            missing, own = self._not_moved(claimed, peer, here)
        if expected is not None:
            expected -= own
        elif missing:
            expected = len(here) + sum(missing.values())
        if expected is not None and len(here) + sum(missing.values()) < expected:
            raise errors.incomplete(peer, len(here), expected)
        try:
            instances = in_transaction(
                self._database,
                lambda session: record_fetch(
                    session,
                    claimed,
                    received,
                    expected=expected,
                    absent=absent,
                    missing=missing,
                ),
            )
        except FetchedContentDiffers as error:
            raise Rejected(error.code, error.sentence) from None
        self._breaker.record_success(subject)
        in_transaction(self._database, lambda session: end_condition(session, subject))
        if received is not None:
            self.disk.record_room()
        return instances

    def _not_moved(
        self, claimed: Claim, peer: Peer, here: Collection[str]
    ) -> tuple[dict[str, int], int]:
        """By C-MOVE, of what did not come to our listener: what is left out, unless something may be
        a radiograph; and how many are results of ours, which the listener drops."""
        with self._database.reading() as session:
            origin = origin_of(session, claimed)
        uid = origin.study_instance_uid if origin else ""
        found = find_missing_objects(peer, self._settings, self._database, uid, here)
        if not here:
            if found is not None and found.own and not found.others:
                raise errors.not_there(peer)
            raise self._record_failure(errors.moved_elsewhere(peer, self._settings.ae_title))
        if found is None:  # then it is not known what is missing
            return {}, 0
        if not found.others or found.may_hold_radiograph:
            return {}, found.own
        return {NOT_GIVEN: len(found.others)}, found.own

    def _without_own(self, fetched: RetrieveResult) -> Images:
        """What the archive keeps of ours in the study is no image of it."""
        return tuple(
            (stored, header)
            for stored, header in fetched.images
            if not is_own_result(header, self._database)
        )

    def _record_failure(self, error: Unavailable) -> Unavailable:
        """With the time to wait; a failure that was met, and not only remembered, is on record."""
        if error.wait_s:
            return error
        in_transaction(
            self._database,
            lambda session: note_condition(session, error.subject, error.code, error.sentence),
        )
        return self._breaker.record_failure(error)


def archive_of(origin: Origin, settings: Settings) -> Peer:
    """The archive of an origin. Raises Away if this process's file of peers does not have it."""
    if origin.base_url is not None:
        return Peer.model_validate(
            {"name": BY_ADDRESS, "dicomweb": origin.base_url, "retrieve": "wado-rs"}
        )
    name = origin.peer or ""
    try:
        return read_peers(settings.peers).named(name)
    except Rejected as error:
        raise errors.misconfigured(name, error) from None


def _must_be_fetched(origin: Origin, absent: frozenset[str]) -> bool:
    if origin.way is RetrieveWay.C_MOVE:  # it would come to the listener's disk, not to this one
        return not origin.fetched
    return bool(absent) or not origin.fetched


def _received(claimed: Claim, images: Images) -> ReceivedStudy | None:
    if not images:
        return None
    return received_study(
        images,
        priority=Priority(claimed.priority),
        site_ae_title=None,
        source=claimed.source,
    )
