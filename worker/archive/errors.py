"""What can be wrong with an archive, each as one error: whose fault it is says what becomes of a study.

The archive's or the site's fault is `Unavailable`: the study waits, and `pneumo status` shows the condition.
What one study meets alone is `Transient` (tried again, in the end parked) or `Rejected` (parked).
"""

from __future__ import annotations

from worker.errors import Rejected, Transient, Unavailable
from worker.peers.associations import tls_failure_reason
from worker.peers.peers_file import Peer

RETRIEVE_FAILED = "RETRIEVE_FAILED"
STUDY_NOT_IN_ARCHIVE = "STUDY_NOT_IN_ARCHIVE"


def subject_of(peer: Peer) -> str:
    """How `pneumo status` calls it."""
    return f"archive {peer.name}"


def away(peer: Peer, what: str) -> Unavailable:
    """No connection, no answer, or an answer that says "later"."""
    return Unavailable(
        "ARCHIVE_AWAY",
        f"{peer.name} {what}. What is to be fetched from it waits and comes by itself. Check that "
        "it runs and that this machine reaches it.",
        subject=subject_of(peer),
    )


def refuses_us(peer: Peer, how: str, advice: str) -> Unavailable:
    """It is there and does not want to talk with us."""
    return Unavailable(
        "ARCHIVE_REFUSES_US",
        f"{peer.name} refuses us ({how}). {advice} What is to be fetched from it waits until then.",
        subject=subject_of(peer),
    )


def certificate(peer: Peer, error: BaseException) -> Unavailable:
    """TLS does not come about."""
    return Unavailable(
        "ARCHIVE_CERTIFICATE",
        f"No TLS connection to {peer.name} ({tls_failure_reason(error)}). Check its certificate against "
        "`authorities` and its host name, and that it trusts ours (`certificate`, `key`), in the "
        "file that PNEUMO_PEERS names. What is to be fetched from it waits until then.",
        subject=subject_of(peer),
    )


def destination_unknown(peer: Peer, ae_title: str) -> Unavailable:
    """C-MOVE: it does not know where our listener is."""
    return Unavailable(
        "MOVE_DESTINATION_UNKNOWN",
        f"{peer.name} does not know the move destination {ae_title}. Enter our listener there (AE "
        f"title {ae_title}, its address and PNEUMO_LISTEN_PORT), or let PNEUMO_AE_TITLE be what it "
        "knows. What is to be fetched from it waits until then.",
        subject=subject_of(peer),
    )


def moved_elsewhere(peer: Peer, ae_title: str) -> Unavailable:
    """C-MOVE: it has sent the images, and not to us."""
    return Unavailable(
        "MOVED_ELSEWHERE",
        f"{peer.name} says that it sent a study to {ae_title}, and none of it came to our listener. "
        "Correct the address that it has for this AE title, and check that listener and workers "
        "use the same database. What is to be fetched from it waits until then.",
        subject=subject_of(peer),
    )


def misconfigured(name: str, error: Rejected) -> Unavailable:
    """What the site says about an archive cannot be used by this process."""
    return Unavailable(
        error.code,
        f"{error.sentence} What is to be fetched from {name} waits until then.",
        subject=f"archive {name}",
    )


def not_there(peer: Peer) -> Rejected:
    """It answers, and has no such study."""
    return Rejected(
        STUDY_NOT_IN_ARCHIVE,
        f"{peer.name} has no image of this study. Check the Study Instance UID and the archive, "
        "then run `pneumo retry`.",
    )


def other_study(peer: Peer) -> Rejected:
    """It answers with something else than was asked for."""
    return Rejected(
        "OTHER_STUDY",
        f"{peer.name} gave an image of another study than was asked for, which was not taken over. "
        "Ask who runs it.",
    )


def failed(peer: Peer, how: str) -> Transient:
    """It answers, and cannot give this study."""
    return Transient(
        RETRIEVE_FAILED,
        f"{peer.name} could not give this study ({how}). It is tried again by itself; if it is "
        "parked, ask who runs the archive, then run `pneumo retry`.",
    )


def search_failed(peer: Peer, how: str) -> Transient:
    """It answers, and cannot say what it has."""
    return Transient(
        "SEARCH_FAILED",
        f"{peer.name} could not say what it has ({how}). Ask who runs the archive, then run the same "
        "command again; what was ordered before stays ordered.",
    )


def incomplete(peer: Peer, here: int, expected: int | None) -> Transient:
    """Fewer images than it says there are."""
    of = f" of {expected} images" if expected is not None else " image(s), then broke off"
    return Transient(
        "RETRIEVE_INCOMPLETE",
        f"{peer.name} gave {here}{of}. The study is tried again by itself; if it is parked, "
        "ask who runs the archive, then run `pneumo retry`.",
    )
