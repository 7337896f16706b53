"""A sender that stops before the end of its data sets, so that many are under way at once."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import ComputedRadiographyImageStorage

from tests.builders.dicom import make_instance
from tests.builders.site import Site, data_set_of
from tests.builders.waiting import wait_until

CR = ComputedRadiographyImageStorage


@dataclass
class HalfSent:
    """A C-STORE request on its way; all but the last fragment is sent."""

    association: Any
    last: Any
    """The last P-DATA, which is held back."""

    def finish(self) -> int:
        """Send the rest; the status that is answered."""
        self.association.dul.send_pdu(self.last)
        return wait_for_answer(self.association)


def wait_for_answer(association: Any) -> int:
    """Wait for the answer to `request_fragments`."""
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer.Status


@contextmanager
def half_sent_requests(site: Site, *, senders: int, instance_bytes: int):
    """That many associations, each with a request of which nearly everything has arrived."""
    with ExitStack() as stack:
        yield [
            _send_most(
                stack.enter_context(site.association((CR, ExplicitVRLittleEndian))),
                uid=f"1.2.3.77.{number}",
                instance_bytes=instance_bytes,
            )
            for number in range(senders)
        ]


def _send_most(association: Any, *, uid: str, instance_bytes: int) -> HalfSent:
    *pieces, last = request_fragments(association, uid, _data_set(uid, instance_bytes))
    for piece in pieces:
        association.dul.send_pdu(piece)
    wait_until(association.dul.to_provider_queue.empty)
    return HalfSent(association, last)


def request_fragments(
    association: Any, uid: str, data_set: bytes, *, pdu_bytes: int = 131_072
) -> list:
    """The P-DATA of a C-STORE request; its answer is left for whoever sends them."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CR, uid
    request.DataSet = BytesIO(data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    (context,) = association.accepted_contexts
    association._reactor_checkpoint.clear()  # else pynetdicom's own thread takes the answer
    return list(message.encode_msg(context.context_id, pdu_bytes))


def _data_set(uid: str, size: int) -> bytes:
    """An instance's encoded data set with so many bytes of pixels, nearly all of them nought."""
    dataset = make_instance(sop_instance_uid=uid, study_instance_uid="1.2.3.77")
    dataset.Rows, dataset.Columns = size // 2 // 2048, 2048
    dataset.PixelData = bytes(dataset.Rows * dataset.Columns * 2)
    whole = BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    return data_set_of(whole.getvalue())


def peak_memory(pid: int) -> int:
    """Bytes of memory that a process had at its largest (VmHWM of proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
