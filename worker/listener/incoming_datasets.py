"""Data sets go to the disk while they arrive, so that an association's memory does not grow by them.

pynetdicom would collect a whole C-STORE request in memory before anybody sees it, or, if told so,
in a temporary folder with its own file meta. Here each fragment is hashed and written into the
intake folder as it comes; what remains to be done for an answer is to flush and to rename.
"""

from __future__ import annotations

import io
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from worker.storage.content import file_head
from worker.storage.intake_folder import Bytes, IntakeStorage, PartFile

OTHER_MESSAGE_BYTES = 1 << 20
"""Of a message that is no C-STORE request: identifiers and reports of a few hundred bytes."""


class IncomingDataSet(io.BytesIO):
    """The data set of one message; pynetdicom writes into it what the sender sends.

    Of a C-STORE request it goes to the disk, behind a file meta of ours, and this object stays
    empty. Of any other message it stays in memory.
    """

    def __init__(self, message: DIMSEMessage, association: Any, storage: IntakeStorage) -> None:
        super().__init__()
        self._message, self._association, self._storage = message, association, storage
        self._part: PartFile | None = None
        self._error: Exception | None = None

    def write(self, piece: Any) -> int:
        """Called by the thread that reads the connection, which an error would end: keep it."""
        if not isinstance(self._message, C_STORE_RQ):
            return self._into_memory(piece)
        if self._error is None:
            try:
                self._begun().write(piece)
            except Exception as error:  # noqa: BLE001  `take` raises it where it can be answered
                self._error = error
                self.discard()
        return len(piece)

    def take(self) -> PartFile:
        """The whole file, which is the caller's to keep or to discard.

        Raises what happened while it was written: Resource DISK_FULL, DISK_ERROR.
        """
        if self._error is not None:
            raise self._error
        part, self._part = self._begun(), None  # without any data set it has not begun yet
        return part

    def discard(self) -> None:
        """Leave nothing on the disk, unless it was taken."""
        if self._part is not None:
            self._part.discard()

    def _begun(self) -> PartFile:
        if self._part is None:
            self._part = self._storage.begin()
            self._part.write(_file_head(self._message, self._association))
            self._part.mark_own_file_head()
        return self._part

    def _into_memory(self, piece: Bytes) -> int:
        if self.tell() + len(piece) > OTHER_MESSAGE_BYTES:
            # Dropped, and the association is aborted: Evt19, an invalid PDU (PS3.8 9.2.3).
            self._association.dul.event_queue.put("Evt19")
            return len(piece)
        return super().write(piece)


class IncomingMessages(DIMSEServiceProvider):
    """In place of an association's own, with data sets that go to the disk."""

    message: Any
    """What is arriving now."""

    def __init__(self, association: Any, storage: IntakeStorage) -> None:
        super().__init__(association)
        self._storage = storage

    def receive_primitive(self, primitive: Any) -> None:
        """Take the next part of a message. pynetdicom calls it for every P-DATA-TF.

        Once a data set has begun, what comes next of it is taken past pynetdicom, whose seven
        copies and state machine cost more than disk and digest together.
        """
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = IncomingDataSet(self.message, self.assoc, self._storage)
        super().receive_primitive(primitive)
        if isinstance(self.message, C_STORE_RQ):
            for piece in self.dul.socket.middle_of_data_set(self.message.context_id):
                self.message.data_set.write(piece)

    def discard_unfinished(self) -> None:
        """The connection is closed: leave no file of the message that was arriving.

        One that is complete is taken over though nobody hears the answer; it may be the only copy.
        """
        if self.message is not None and isinstance(self.message.data_set, IncomingDataSet):
            self.message.data_set.discard()


def _file_head(message: Any, association: Any) -> bytes:
    """The head of the message that is arriving."""
    context = association._accepted_cx[message.context_id]  # noqa: SLF001  as pynetdicom finds it
    command = message.command_set
    return file_head(
        command.AffectedSOPClassUID, command.AffectedSOPInstanceUID, context.transfer_syntax[0]
    )
