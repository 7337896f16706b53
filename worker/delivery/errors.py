"""What can be wrong with a destination, in the words that `pneumo status` shows.

Two questions decide what is done: did the destination fail as a whole (then one result is its probe,
and the others wait), and did it fail with this very result (then another one is the next probe, in
case the result is the cause).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.uid import UID, Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from pynetdicom.sop_class import StorageCommitmentPushModel

from worker.errors import PneumoError, Rejected, Transient


class DestinationFailed(Transient):
    """The destination as a whole does not take results now; all of them wait."""

    def __init__(self, code: str, sentence: str, *, with_this_result: bool = False) -> None:
        super().__init__(code, sentence)
        self.with_this_result = with_this_result
        """It had begun to take this result, which alone may be the cause."""


def away(name: str) -> DestinationFailed:
    """Nobody answers at its address."""
    return DestinationFailed(
        "DESTINATION_AWAY",
        f"{name} does not answer at its address. Results wait and are sent once it does; check that "
        "it runs, its host and port in the file of PNEUMO_PEERS, and the firewall.",
    )


def certificate(name: str, why: str) -> DestinationFailed:
    """TLS fails, for a reason of either side's certificates."""
    return DestinationFailed(
        "DESTINATION_CERTIFICATE",
        f"TLS with {name} fails ({why}). Results wait; check its certificate, ours, and who may sign "
        "them (docs/hospital.md).",
    )


def refuses(name: str, why: str) -> DestinationFailed:
    """It does not let us in."""
    return DestinationFailed(
        "DESTINATION_REFUSES",
        f"{name} does not let us in: {why}. Results wait; enter our AE title, address or token there.",
    )


def fails(name: str, why: str) -> DestinationFailed:
    """It lets us in, and then does not take what we send."""
    return DestinationFailed(
        "DESTINATION_FAILS",
        f"{name} accepts the connection and then fails ({why}). Results wait and are sent again; look "
        "into its log and at its disk.",
        with_this_result=True,
    )


def unknown(name: str) -> DestinationFailed:
    """It is no longer in our file."""
    return DestinationFailed(
        "DESTINATION_UNKNOWN",
        f"{name} has results waiting and no `results` in the file that PNEUMO_PEERS names on this "
        "machine. Give every part of the installation the same file.",
    )


def commitment_not_offered(name: str) -> Transient:
    """It cannot be asked whether it keeps results."""
    return Transient(
        "COMMITMENT_NOT_OFFERED",
        f"{name} is to confirm that it keeps results and does not offer storage commitment. Allow "
        "it there, or take storage_commitment out of the file of PNEUMO_PEERS.",
    )


def lacks_classes(name: str, sop_classes: Iterable[str]) -> Rejected:
    """It refuses the presentation contexts of these classes; with the way round, if there is one."""
    lacking = {UID(sop_class) for sop_class in sop_classes}
    others = [word for sop_class, word in _OTHER.items() if lacking == {sop_class}]
    instead = (
        f', or say `result_objects = ["{others[0]}"]` in its table of the file of PNEUMO_PEERS so '
        "that it gets nothing else"
        if others
        else ""
    )
    return Rejected(
        "DESTINATION_LACKS_SOP_CLASS",
        f"{name} does not take {' and '.join(sorted(uid.name for uid in lacking))}. Allow it "
        f"there{instead}; then run `pneumo deliveries --retry`.",
    )


def refuses_result(name: str, why: str) -> Rejected:
    """It refuses this one result."""
    return Rejected(
        "DESTINATION_REFUSES_RESULT",
        f"{name} refuses the result: {why}. Its log says why; once that is mended run `pneumo "
        "deliveries --retry`.",
    )


def nothing_accepted(name: str, sop_classes: Sequence[str]) -> PneumoError:
    """It accepts none of the presentation contexts."""
    stored = [uid for uid in sop_classes if uid != StorageCommitmentPushModel]
    return lacks_classes(name, stored) if stored else commitment_not_offered(name)


_OTHER = {Comprehensive3DSRStorage: "capture", SecondaryCaptureImageStorage: "sr"}
"""What can be sent instead of each class."""
