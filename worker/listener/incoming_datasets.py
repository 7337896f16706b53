"""Data sets go to the disk while they arrive, so that an association's memory does not grow by them.

pynetdicom would collect a whole C-STORE request in memory before anybody sees it, or, if told so,
in a temporary folder with its own file meta. Here each fragment is hashed and written into the
intake folder as it comes; what remains to be done for an answer is to flush and to rename. Whatever
a sender may send without end has a limit here: command sets, data sets, requests without an answer.
"""

from __future__ import annotations

import io
import time
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from worker.errors import Rejected
from worker.listener.socket_reader import BufferedSocket
from worker.logging import get_logger
from worker.storage.content import file_head
from worker.storage.intake_folder import Bytes, IntakeStorage, PartFile

log = get_logger(__name__)

OTHER_MESSAGE_BYTES = 1 << 20
"""Of a message that is no C-STORE request: identifiers and reports of a few hundred bytes."""
COMMAND_SET_BYTES = 1 << 16
"""Of a command set, which holds some UIDs and numbers (PS3.7 annex E)."""
WAITING_REQUESTS = 16
"""Requests that came before earlier ones were answered; we negotiate one (PS3.7 D.3.3.3)."""
SWALLOWED = 2
"""Times the size of the largest instance: so much is read, so that a status can be answered."""
_COMMAND = 1
"""Bit of the message control header: of a command set (PS3.8 E.2)."""


class IncomingDataSet(io.BytesIO):
    """The data set of one message; pynetdicom writes into it what the sender sends.

    Of a C-STORE request it goes to the disk, behind a file meta of ours, and this object stays
    empty. Of any other message it stays in memory.
    """

    def __init__(self, messages: IncomingMessages, storage: IntakeStorage, max_bytes: int) -> None:
        super().__init__()
        self._messages, self._message, self._storage = messages, messages.message, storage
        self._max_bytes = max_bytes
        self._received = 0
        self._part: PartFile | None = None
        self._error: Exception | None = None

    @property
    def is_empty(self) -> bool:
        """Whether a C-STORE request came without any data set."""
        return self._received == 0

    def write(self, piece: Any) -> int:
        """Called by the thread that reads the connection, which an error would end: keep it."""
        if not piece:
            return 0
        self._received += len(piece)
        if not isinstance(self._message, C_STORE_RQ):
            return self._into_memory(piece)
        if self._received > SWALLOWED * self._max_bytes:
            self._messages.abort("DATA_SET_TOO_LARGE")
        if self._error is None:
            try:
                self._refuse_when_too_large()
                self._begun().write(piece)
            except Exception as error:  # noqa: BLE001  `take` raises it where it can be answered
                self._error = error
                self.discard()
        return len(piece)

    def take(self) -> PartFile:
        """Return the whole file, which the caller keeps or discards.

        Raises what happened while it was written: Resource DISK_FULL, DISK_ERROR,
        DISK_NEARLY_FULL; Rejected FILE_TOO_LARGE. Rejected DATA_SET_MISSING if none came.
        """
        if self._error is not None:
            raise self._error
        if self.is_empty:
            raise Rejected(
                "DATA_SET_MISSING",
                "The C-STORE request came without a data set; expected the instance (PS3.7 "
                "9.1.1.1.6). Send it again.",
            )
        part, self._part = self._begun(), None
        return part

    def discard(self) -> None:
        """Leave nothing on the disk, unless it was taken."""
        if self._part is not None:
            self._part.discard()

    def _refuse_when_too_large(self) -> None:
        if self._received > self._max_bytes:
            raise Rejected(
                "FILE_TOO_LARGE",
                f"The data set has more than {self._max_bytes} bytes (PNEUMO_MAX_FILE_BYTES). Leave "
                "the instance out, or raise the limit.",
            )

    def _begun(self) -> PartFile:
        if self._part is None:
            self._part = self._storage.begin()
            self._part.write(_file_head(self._message, self._messages.assoc))
            self._part.mark_own_file_head()
        return self._part

    def _into_memory(self, piece: Bytes) -> int:
        if self.tell() + len(piece) > OTHER_MESSAGE_BYTES:
            self._messages.abort("MESSAGE_TOO_LARGE")
            return len(piece)
        return super().write(piece)


class IncomingCommandSet(io.BytesIO):
    """The command set of one message, of a bounded size."""

    def __init__(self, messages: IncomingMessages) -> None:
        super().__init__()
        self._messages = messages

    def write(self, piece: Any) -> int:
        """Append, or abort the association and drop what is too much."""
        if self.tell() + len(piece) > COMMAND_SET_BYTES:
            self._messages.abort("COMMAND_SET_TOO_LARGE")
            return len(piece)
        return super().write(piece)


class IncomingMessages(DIMSEServiceProvider):
    """In place of an association's own, with data sets that go to the disk."""

    message: Any
    """What is arriving now."""

    def __init__(self, association: Any, storage: IntakeStorage, max_bytes: int) -> None:
        super().__init__(association)
        self._storage, self._max_bytes = storage, max_bytes

    @property
    def _socket(self) -> BufferedSocket:
        return self.dul.socket

    def receive_primitive(self, primitive: Any) -> None:
        """Take the next part of a message. pynetdicom calls it for every P-DATA-TF.

        Once a data set has begun, what comes next of it is taken past pynetdicom, whose seven
        copies and state machine cost more than disk and digest together.
        """
        if self._socket.is_ending:
            return
        if self.message is None:
            self._begin()
        elif isinstance(self.message, C_STORE_RQ) and _has_command(primitive):
            self.abort("COMMAND_WITHIN_DATA_SET")
            return
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001  a hostile command set must not end the thread
            log.info("message_unreadable", error_type=type(error).__qualname__)
            self.abort("COMMAND_SET_UNREADABLE")
            return
        if isinstance(self.message, C_STORE_RQ):
            for piece in self._socket.middle_of_data_set(self.message.context_id):
                began = time.monotonic()
                self.message.data_set.write(piece)
                self._socket.progress.exclude(time.monotonic() - began)
        if self.message is None:
            self._socket.progress.end_message()
            if self.msg_queue.qsize() > WAITING_REQUESTS:
                self.abort("TOO_MANY_REQUESTS")

    def abort(self, reason: str) -> None:
        """Abort the association and read no more; the sender gets an A-ABORT (PS3.8 9.3.8)."""
        if self._socket.is_ending:
            return
        self._socket.is_ending = True
        log.warning("association_aborted", reason=reason)
        self.discard_unfinished()
        self.dul.event_queue.put("Evt19")  # an invalid PDU, PS3.8 9.2.3

    def discard_unfinished(self) -> None:
        """The connection is closed: leave no file of the message that was arriving.

        One that is complete is accepted though nobody hears the answer; it may be the only copy.
        """
        if self.message is not None and isinstance(self.message.data_set, IncomingDataSet):
            self.message.data_set.discard()

    def _begin(self) -> None:
        self.message = DIMSEMessage()
        self.message.encoded_command_set = IncomingCommandSet(self)
        self.message.data_set = IncomingDataSet(self, self._storage, self._max_bytes)
        self._socket.progress.begin_message()


def _has_command(primitive: Any) -> bool:
    return any(value[0] & _COMMAND for _, value in primitive.presentation_data_value_list if value)


def _file_head(message: Any, association: Any) -> bytes:
    """Return the head of the message that is arriving."""
    context = association._accepted_cx[message.context_id]  # noqa: SLF001  as pynetdicom finds it
    command = message.command_set
    return file_head(
        command.AffectedSOPClassUID, command.AffectedSOPInstanceUID, context.transfer_syntax[0]
    )
