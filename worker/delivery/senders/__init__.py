"""The senders of results, by the word with which the file of peers names their protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders.c_store import CStoreSender
from worker.delivery.senders.sender import Sender
from worker.delivery.senders.stow_rs import StowRsSender
from worker.peers.peers_file import Peer

SENDERS: Mapping[str, Callable[[Peer, DeliveryRuntime], Sender]] = {
    "c-store": CStoreSender,
    "stow-rs": StowRsSender,
}


def sender_for(peer: Peer, runtime: DeliveryRuntime) -> Sender:
    """Return the sender for a destination of the file of peers."""
    assert peer.results is not None  # it is a destination
    return SENDERS[peer.results](peer, runtime)
