"""Errors of archives; whose fault an error is decides what happens to the study.

The archive's or the site's fault is `Unavailable`: the study waits, and `pneumo status` shows the condition.
The fault of one study alone is `Transient` (tried again, in the end parked) or `Rejected` (parked).
"""

from __future__ import annotations

from worker.errors import Rejected, Transient, Unavailable
from worker.peers.associations import tls_failure_reason
from worker.peers.peers_file import Peer

RETRIEVE_FAILED = "RETRIEVE_FAILED"
STUDY_NOT_IN_ARCHIVE = "STUDY_NOT_IN_ARCHIVE"


def subject_of(peer_name: str) -> str:
    """Return the subject of an archive's condition in `pneumo status`."""
    return f"archive {peer_name}"


def _unavailable(peer_name: str, code: str, sentence: str) -> Unavailable:
    waits = f"What is to be fetched from {peer_name} waits until then."
    return Unavailable(code, f"{sentence} {waits}", subject=subject_of(peer_name))


def away(peer: Peer, what: str) -> Unavailable:
    """No connection, no answer, or an answer that says "later"."""
    return Unavailable(
        "ARCHIVE_AWAY",
        f"{peer.name} {what}. What is to be fetched from it waits and is fetched automatically once "
        "it answers. Check that it runs and that this machine reaches it.",
        subject=subject_of(peer.name),
    )


def refuses_us(peer: Peer, how: str, advice: str) -> Unavailable:
    """The archive answers and refuses our request."""
    return _unavailable(
        peer.name, "ARCHIVE_REFUSES_US", f"{peer.name} refuses us ({how}). {advice}"
    )


def certificate(peer: Peer, error: BaseException) -> Unavailable:
    """The TLS handshake fails."""
    return _unavailable(
        peer.name,
        "ARCHIVE_CERTIFICATE",
        f"No TLS connection to {peer.name} ({tls_failure_reason(error)}). Check its certificate against "
        "`authorities` and its host name, and that it trusts ours (`certificate`, `key`), in the "
        "file that PNEUMO_PEERS names.",
    )


def destination_unknown(peer: Peer, ae_title: str) -> Unavailable:
    """C-MOVE: the archive does not know the address of our listener."""
    return _unavailable(
        peer.name,
        "MOVE_DESTINATION_UNKNOWN",
        f"{peer.name} does not know the move destination {ae_title}. Enter our listener there (AE "
        f"title {ae_title}, its address and PNEUMO_LISTEN_PORT), or set PNEUMO_AE_TITLE to the title "
        "that it knows.",
    )


def moved_elsewhere(peer: Peer, ae_title: str) -> Unavailable:
    """C-MOVE: the archive sent the images, but not to us."""
    return _unavailable(
        peer.name,
        "MOVED_ELSEWHERE",
        f"{peer.name} says that it sent a study to {ae_title}, and none of it came to our listener. "
        "Correct the address that it has for this AE title, and check that listener and workers "
        "use the same database.",
    )


def misconfigured(peer_name: str, error: Rejected) -> Unavailable:
    """This process cannot use the site's entry for an archive."""
    return _unavailable(peer_name, error.code, error.sentence)


def not_there(peer: Peer) -> Rejected:
    """The archive answers, and has no such study."""
    return Rejected(
        STUDY_NOT_IN_ARCHIVE,
        f"{peer.name} has no image of this study. Check the Study Instance UID and the archive, "
        "then run `pneumo retry`.",
    )


def other_study(peer: Peer) -> Rejected:
    """The archive answers with something else than was requested."""
    return Rejected(
        "OTHER_STUDY",
        f"{peer.name} gave an image of another study than was requested, which was not accepted. "
        "Ask its administrator.",
    )


def failed(peer: Peer, how: str) -> Transient:
    """The archive answers, and cannot give this study."""
    return Transient(
        RETRIEVE_FAILED,
        f"{peer.name} could not give this study ({how}). The study is tried again automatically; "
        "if it is parked, ask the archive's administrator, then run `pneumo retry`.",
    )


def search_failed(peer: Peer, how: str) -> Transient:
    """The archive answers, and cannot say what it has."""
    return Transient(
        "SEARCH_FAILED",
        f"{peer.name} could not say what it has ({how}). Ask its administrator, then run the same "
        "command again; what was ordered before stays ordered.",
    )


def incomplete(peer: Peer, here: int, expected: int | None) -> Transient:
    """The archive gave fewer images than it says it has."""
    of = f" of {expected} images" if expected is not None else " image(s), then broke off"
    return Transient(
        "RETRIEVE_INCOMPLETE",
        f"{peer.name} gave {here}{of}. The study is tried again automatically; if it is "
        "parked, ask the archive's administrator, then run `pneumo retry`.",
    )
