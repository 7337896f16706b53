"""What a protocol by which results are sent has to do: open a session, send on it.

A new protocol (`fhir`, `mllp`, ...) is one new file beside this one and one line in `SENDERS`
(`worker/delivery/senders/__init__.py`), besides its word and its rules in the file of peers
(`Peer.results`). `worker/delivery/send.py` stays as it is: claim, begin, finish and failures are the
same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from db.values.deliveries import CommitmentRequest
from worker.delivery.errors import commitment_not_offered
from worker.delivery.render import RenderedObject


class SenderSession(Protocol):
    """An open connection to one destination, on which nothing of a result was sent yet."""

    def send(self, objects: Sequence[RenderedObject], renew: Callable[[], None]) -> str | None:
        """Send every object; return the code of the last warning, if there was one.

        `renew` extends the claim's lease, and raises StaleClaim if the claim is lost: it is called
        before each object that is sent in a message of its own. Having returned means that the
        destination has every object. Raises DestinationFailed; Rejected DESTINATION_REFUSES_RESULT.
        """
        ...

    def request_commitment(self, request: CommitmentRequest) -> None:
        """Ask the destination to confirm that it keeps these objects (PS3.4 annex J).

        Only C-STORE has this; the file of peers allows it for no other protocol.
        Raises Transient COMMITMENT_NOT_OFFERED, COMMITMENT_REFUSED; DestinationFailed.
        """
        raise commitment_not_offered(request.destination)


class Sender(Protocol):
    """One destination, by the protocol that the file of peers names."""

    def open(self, objects: Sequence[RenderedObject]) -> AbstractContextManager[SenderSession]:
        """Connect to the destination, so that these objects can be sent; close it at the end.

        Nothing of them is sent yet: whether they still should be is asked when the destination is
        reached. Raises DestinationFailed; Rejected DESTINATION_LACKS_SOP_CLASS.
        """
        ...
