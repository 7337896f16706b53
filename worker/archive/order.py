"""Order a study from an archive: write a row now, and a worker retrieves the images later.

`order_study` is the contract in Python; `pneumo pull`, `pneumo enqueue --dicomweb` and
`pneumo backfill` use it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database, is_transient
from db.studies.orders import place_order
from db.values import OrderConfirmation, StudyOrder
from db.vocabulary.enums import Priority, RetrieveWay, Source
from worker.errors import Rejected, Transient
from worker.imaging.identifiers import is_uid
from worker.intake.accept import DATABASE_TIMEOUT_S, open_database
from worker.peers.peers_file import Peer, Peers, read_peers
from worker.settings import Settings, current_settings
from worker.transactions import in_transaction

__all__ = ["OrderConfirmation", "order_study"]


def order_study(
    study_instance_uid: str,
    *,
    dicomweb: str | None = None,
    peer: str | None = None,
    priority: Priority = Priority.ROUTINE,
    database: Database | None = None,
    settings: Settings | None = None,
) -> OrderConfirmation:
    """Have a study retrieved and predicted; the order is stored when this returns.

    `dicomweb`: base URL of a DICOMweb server, for WADO-RS; if a peer has this URL, with the peer's
    token and certificate, else with none. `peer`: name of an archive in the file that PNEUMO_PEERS
    names, for the way that its `retrieve` says; with neither, the only archive that has a `retrieve`.
    A known study is not ordered again (`is_new` is False).

    Raises Rejected (STUDY_UID_INVALID, DICOMWEB_URL_INVALID, PEERS_INVALID, PEER_UNKNOWN,
    PEER_CANNOT, PEER_AMBIGUOUS), Transient (DATABASE_AWAY).
    """
    settings = settings or current_settings()
    _refuse_invalid_uid(study_instance_uid)
    order = _order_of(study_instance_uid, read_peers(settings.peers), dicomweb, peer, priority)
    with open_database(database, settings) as ours:
        try:
            return in_transaction(
                ours, lambda session: place_order(session, order), timeout_s=DATABASE_TIMEOUT_S
            )
        except SQLAlchemyError as error:
            if not is_transient(error):
                raise
            raise Transient(
                "DATABASE_AWAY",
                "The database did not answer in time, so nothing was ordered. Check that it runs "
                "(PNEUMO_DATABASE_URL) and order again.",
            ) from None


def _order_of(
    uid: str, peers: Peers, dicomweb: str | None, name: str | None, priority: Priority
) -> StudyOrder:
    if dicomweb is not None:
        known = _peer_at(dicomweb, peers)
        return StudyOrder(
            study_instance_uid=uid,
            way=RetrieveWay.WADO_RS,
            peer=known.name if known else None,
            base_url=None if known else _checked_url(dicomweb),
            priority=priority,
            source=Source.DICOMWEB,
        )
    archive = peers.single_with_role("retrieve", name)
    way = RetrieveWay(str(archive.retrieve))
    return StudyOrder(
        study_instance_uid=uid,
        way=way,
        peer=archive.name,
        priority=priority,
        source=Source.DICOMWEB if way is RetrieveWay.WADO_RS else Source.PULL,
    )


def _peer_at(url: str, peers: Peers) -> Peer | None:
    """Return the peer whose DICOMweb services have this base URL."""
    for peer in peers:
        if peer.dicomweb and peer.dicomweb.rstrip("/") == url.rstrip("/"):
            return peer
    return None


def _checked_url(url: str) -> str:
    """Return a base URL that may be stored in a row: without a name and a password, which would stay there."""
    try:
        split = urlsplit(url)
        fits = split.scheme in ("http", "https") and bool(split.hostname) and "@" not in url
        fits = fits and not (split.query or split.fragment or any(char.isspace() for char in url))
        _ = split.port
    except ValueError:
        fits = False
    if not fits:
        raise Rejected(
            "DICOMWEB_URL_INVALID",
            "This is not a base URL of DICOMweb services. Expected https://host/path without name, "
            "password and query; put credentials into the file that PNEUMO_PEERS names.",
        )
    return url.rstrip("/")


def _refuse_invalid_uid(uid: str) -> None:
    if not is_uid(uid):
        raise Rejected(
            "STUDY_UID_INVALID",
            f"{len(uid)} characters were given that are not a Study Instance UID; expected at most 64 "
            "digits and dots.",
        )
