"""Retrieve the images of an ordered study to this machine's disk, before they are read.

A study that was sent to us needs no retrieval. One whose files are not on this disk, since another node
retrieved them, is retrieved again: so nodes that retrieve share nothing but the database.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from db.engine.session import Database
from db.studies.orders import instances_here, placed_order_of, record_fetch
from db.studies.transitions import FETCHED_BY_US
from db.values import Claim, ClaimedInstance, PlacedOrder, ReceivedStudy
from db.vocabulary.enums import Priority, RetrieveWay
from db.vocabulary.errors import FetchedContentDiffers
from worker.archive import errors
from worker.archive.circuit_breaker import RecordedCircuitBreaker
from worker.archive.find.answers import FoundStudy
from worker.archive.find.search import look_up, open_search
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
"""Name of a DICOMweb server that is not in the file of peers."""
SHARE_OF_LIMIT = 0.5
"""Part of `study_limit_s` for the retrieval; the rest is for the neural network."""
_WAYS = {
    RetrieveWay.WADO_RS: wado_rs.retrieve_study,
    RetrieveWay.C_GET: c_get.retrieve_study,
    RetrieveWay.C_MOVE: c_move.retrieve_study,
}


class Retriever:
    """Retrieves the studies of one worker process, which remembers the archives that are away."""

    def __init__(self, settings: Settings, database: Database, storage: IntakeStorage) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._breaker = RecordedCircuitBreaker(settings, database)
        self._limit = RetrieveLimit(settings.fetches_at_once)
        self.disk = RetrieveDisk(settings, database, self._breaker)

    def ensure_images(self, claimed: Claim) -> Claim:
        """Return the claim with all instances of its study, their files on this disk.

        Raises Unavailable while the archive, its entry in the file of peers or a full disk is at
        fault, Transient (RETRIEVE_FAILED, RETRIEVE_INCOMPLETE), Rejected (STUDY_NOT_IN_ARCHIVE,
        OTHER_STUDY, FETCHED_OTHERWISE), Postponed while enough others are being retrieved, and
        StaleClaim.
        """
        if claimed.source not in FETCHED_BY_US:
            return claimed
        with self._database.reading() as session:
            order = placed_order_of(session, claimed)
        absent = self._absent(claimed.instances)
        if order is None or not _must_be_fetched(order, absent):
            return claimed
        began = time.monotonic()
        try:
            self.disk.refuse_when_full()
            peer = archive_of(order, self._settings)
            self._breaker.refuse_when_open(errors.subject_of(peer.name))
            with self._limit.slot(stat=Priority(claimed.priority) is Priority.STAT):
                fetched = self._fetch(order, peer)
        except Unavailable as error:
            raise self._breaker.record_failure(error) from None
        instances = self._record(claimed, order, peer, fetched, absent)
        log.info(
            "study_fetched",
            peer=peer.name,
            way=order.way.value,
            instances=len(instances),
            seconds=round(time.monotonic() - began, 3),
        )
        return replace(claimed, instances=instances)

    def _absent(self, instances: tuple[ClaimedInstance, ...]) -> frozenset[str]:
        # A file that the retention rule removed keeps its outcome and is not retrieved again.
        names = {instance.file_name for instance in instances if not instance.file_removed}
        return frozenset(name for name in names if not self._storage.path_of(name).is_file())

    def _fetch(self, order: PlacedOrder, peer: Peer) -> RetrieveResult:
        retrieval = Retrieval(
            peer=peer,
            study_instance_uid=order.study_instance_uid,
            storage=self._storage,
            deadline=time.monotonic() + self._settings.study_limit_s * SHARE_OF_LIMIT,
        )
        settings = self._settings
        if not order.peer:  # an address in no file is not shown our certificate
            settings = settings.model_copy(update={"tls_certificate": None, "tls_key": None})
        try:
            fetched = _WAYS[order.way](retrieval, settings)
        except (Transient, Rejected) as error:
            raise self._classify_by_search(error, order, peer) from None
        except Resource as error:
            if error.code in NO_ROOM_CODES:
                raise self.disk.away(error) from None
            raise
        if fetched.expected is None and peer.count:
            found = self._look_up(order, peer)
            return replace(fetched, expected=found.instances if found else None)
        return fetched

    def _classify_by_search(
        self, error: PneumoError, order: PlacedOrder, peer: Peer
    ) -> PneumoError:
        """Search for the study: some archives answer "unable" if it is unknown, some "unknown" if it is not."""
        ambiguous = {errors.RETRIEVE_FAILED, errors.STUDY_NOT_IN_ARCHIVE}
        if error.code not in ambiguous or not (peer.count or peer.search):
            return error
        if self._look_up(order, peer) is None:
            return errors.not_there(peer)
        if error.code == errors.STUDY_NOT_IN_ARCHIVE:
            return errors.failed(peer, "it knows the study, and gives nothing of it")
        return error

    def _look_up(self, order: PlacedOrder, peer: Peer) -> FoundStudy | None:
        with open_search(peer, self._settings, str(peer.count or peer.search)) as archive:
            return look_up(archive, order.study_instance_uid)

    def _record(
        self,
        claimed: Claim,
        order: PlacedOrder,
        peer: Peer,
        fetched: RetrieveResult,
        absent: frozenset[str],
    ) -> tuple[ClaimedInstance, ...]:
        """Write the rows and end the condition. Raises as `_reconcile`."""
        images = self._without_own(fetched)
        if fetched.images and not images:
            raise errors.not_there(peer)
        received = _received(claimed, images)
        expected, missing = self._reconcile(claimed, order, peer, fetched, images)
        try:
            instances = in_transaction(
                self._database,
                lambda session: record_fetch(
                    session, claimed, received, expected=expected, absent=absent, missing=missing
                ),
            )
        except FetchedContentDiffers as error:
            raise Rejected(error.code, error.sentence) from None
        self._breaker.record_success(errors.subject_of(peer.name))
        if received is not None:
            self.disk.record_room()
        return instances

    def _reconcile(
        self,
        claimed: Claim,
        order: PlacedOrder,
        peer: Peer,
        fetched: RetrieveResult,
        images: Images,
    ) -> tuple[int | None, dict[str, int]]:
        """Return how many images the archive has, None if unknown, and how many are missing, by code.

        Raises RETRIEVE_INCOMPLETE if fewer are here, and as `_missing_after_move`.
        """
        missing, expected = dict(fetched.missing), fetched.expected
        own = len(fetched.images) - len(images)
        here = {header.sop_instance_uid for _, header in images}
        if not images:  # they came through our listener
            with self._database.reading() as session:
                here = instances_here(session, claimed)
            if not here or (expected is not None and len(here) < expected):
                missing, own = self._missing_after_move(order, peer, here)
        accounted = len(here) + sum(missing.values())
        if expected is not None:
            expected -= own
        elif missing:
            expected = accounted
        if expected is not None and accounted < expected:
            raise errors.incomplete(peer, len(here), expected)
        return expected, missing

    def _missing_after_move(
        self, order: PlacedOrder, peer: Peer, here: Collection[str]
    ) -> tuple[dict[str, int], int]:
        """Return what C-MOVE did not bring to our listener.

        These are the objects that are left out, by code, unless one may be a radiograph; and how many
        are results of ours, which the listener drops.
        """
        found = find_missing_objects(
            peer, self._settings, self._database, order.study_instance_uid, here
        )
        if not here:
            if found is not None and found.own and not found.others:
                raise errors.not_there(peer)
            elsewhere = errors.moved_elsewhere(peer, self._settings.ae_title)
            raise self._breaker.record_failure(elsewhere)
        if found is None:  # then it is not known what is missing
            return {}, 0
        if not found.others or found.may_hold_radiograph:
            return {}, found.own
        return {NOT_GIVEN: len(found.others)}, found.own

    def _without_own(self, fetched: RetrieveResult) -> Images:
        """Return the images without our own results, which the archive may hold in the study."""
        return tuple(
            (stored, header)
            for stored, header in fetched.images
            if not is_own_result(header, self._database)
        )


def archive_of(order: PlacedOrder, settings: Settings) -> Peer:
    """Return the archive that an order names. Raises Unavailable if it is not in this process's file of peers."""
    if order.base_url is not None:
        return Peer.model_validate(
            {"name": BY_ADDRESS, "dicomweb": order.base_url, "retrieve": "wado-rs"}
        )
    name = order.peer or ""
    try:
        return read_peers(settings.peers).named(name)
    except Rejected as error:
        raise errors.misconfigured(name, error) from None


def _must_be_fetched(order: PlacedOrder, absent: frozenset[str]) -> bool:
    if order.way is RetrieveWay.C_MOVE:  # images come to the listener's disk, not to this one
        return not order.fetched
    return bool(absent) or not order.fetched


def _received(claimed: Claim, images: Images) -> ReceivedStudy | None:
    if not images:
        return None
    priority = Priority(claimed.priority)
    return received_study(images, priority=priority, site_ae_title=None, source=claimed.source)
