"""A PACS of a test's own: a real Storage SCP on loopback that does what the test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tests.builders.ports import free_port

_numbers = count(1)
CLASSES = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
ABORT = -1
"""In place of a status: end the association without an answer."""


@dataclass
class Pacs:
    """Accepts results unless `statuses` says otherwise; `stop` and `start` keep port and contents."""

    title: str = "PACS"
    calling: Sequence[str] = ()
    classes: Sequence[str] = CLASSES
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,)
    commits: bool = False
    ssl_context: object = None
    statuses: list[int] = field(default_factory=list)
    """Answers to the next C-STORE requests; then 0000."""
    action_status: int = 0x0000
    received: list[Dataset] = field(default_factory=list)
    """Every object that was taken, in order."""
    asked: list[Dataset] = field(default_factory=list)
    """Every request for storage commitment."""

    def __post_init__(self) -> None:
        self.name = f"pacs-{next(_numbers)}"
        self.port = free_port()
        self.server = None

    def start(self) -> Pacs:
        ae = AE(ae_title=self.title)
        ae.require_calling_aet = list(self.calling)
        for sop_class in self.classes:
            ae.add_supported_context(sop_class, list(self.syntaxes))
        if self.commits:
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self.server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=handlers,
            ssl_context=self.ssl_context,
        )
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server = None

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs of what was taken."""
        return [str(dataset.SOPInstanceUID) for dataset in self.received]

    def table(self, **more: object) -> str:
        """Its table in the file of peers."""
        values = {
            "ae_title": self.title,
            "host": "127.0.0.1",
            "port": self.port,
            "results": "c-store",
            **more,
        }
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        return "\n".join([f"[{self.name}]", *lines, ""])

    def report(self, port: int, request: Dataset, *, failed: Sequence[str] = ()) -> int:
        """Open an association as the SCP and report on a request; the status of the answer."""
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        items = {i.ReferencedSOPInstanceUID: i for i in request.ReferencedSOPSequence}
        information.ReferencedSOPSequence = [i for uid, i in items.items() if uid not in failed]
        if failed:
            information.FailedSOPSequence = [items[uid] for uid in failed]
            for item in information.FailedSOPSequence:
                item.FailureReason = 0x0112
        ae = AE(ae_title=self.title)
        ae.add_requested_context(StorageCommitmentPushModel)
        from pynetdicom import build_role

        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate("127.0.0.1", port, ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(
            information,
            2 if failed else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        association.release()
        return int(status.Status)

    def _store(self, event: evt.Event) -> int:
        status = self.statuses.pop(0) if self.statuses else 0x0000
        if status == ABORT:
            event.assoc.abort()
            return 0x0110
        if status in (0, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.received.append(dataset)
        return status

    def _action(self, event: evt.Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        return self.action_status, None


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'
