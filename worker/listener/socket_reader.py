"""What comes in over one connection: read in large pieces, and passed on without copies.

pynetdicom reads 4 KiB at a time and has each PDU go through a state machine (PS3.8 9.2) and six
objects. That is right for all but the bulk of the bytes: fragments in the middle of a data set, in
state Sta6, which change no state. Those are found here in the buffer where they were received.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

from pynetdicom.transport import AssociationSocket

BUFFER_BYTES = 1 << 20
"""Eight PDUs of the length that we ask for; an association costs so much memory."""
MAX_PDU_BYTES = 1 << 22
"""Some senders pass over the length that we ask for (PS3.8 D.1); but memory has an end."""
IDLE_TIMEOUT_S = 60
"""A sender that says nothing for so long in the middle of a PDU is gone."""

_PDU_HEAD_BYTES = 6
"""PDU type and length, which does not count itself (PS3.8 9.3.1)."""
_FRAGMENT = struct.Struct(">BxLLBB")
"""PDU type and length; then length, context and control header of its first value (PS3.8 9.3.5)."""
_P_DATA_TF = 4
_MIDDLE_OF_DATA_SET = 0
"""Message control header: of a data set, and not its last fragment (PS3.8 E.2)."""


class BufferedSocket(AssociationSocket):
    """pynetdicom's view of a connection, with a buffer of ours in between."""

    def __init__(self, association: Any, connection: socket.socket) -> None:
        # By the kernel: a timeout of Python's own would cost a system call for every read.
        patience = struct.pack("ll", IDLE_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        super().__init__(association, client_socket=connection)
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return (self._end > self._start and self.socket is not None) or super().ready

    def recv(self, size: int) -> bytearray:
        """`size` bytes, or fewer if the connection ends. Raises OSError, which closes it."""
        if size > MAX_PDU_BYTES:
            raise OSError("a PDU longer than any sender has a reason for")
        received = bytearray()
        while len(received) < size and (self._end > self._start or self._fill()):
            upto = min(self._end, self._start + size - len(received))
            received += self._buffer[self._start : upto]
            self._start = upto
        return received

    def middle_of_data_set(self, context_id: int) -> Iterator[memoryview]:
        """What there is of a data set, up to and without its last fragment.

        A piece is valid until the next one is asked for. Whatever else comes (the last fragment,
        an abort, nonsense, nothing at all) is left for pynetdicom to read.
        """
        while self._nothing_to_send() and self._waits_for_fragment(context_id):
            yield self._fragments(context_id)

    def _fragments(self, context_id: int) -> memoryview:
        """All whole fragments in the buffer, moved together: digest and disk like large pieces.

        Each piece makes threads wait for each other several times (Python's lock).
        """
        begin = end = self._start + _FRAGMENT.size
        while (whole := self._fragment_in_buffer(context_id)) and self._holds(whole):
            value = self._buffer[self._start + _FRAGMENT.size : self._start + whole]
            self._buffer[end : end + len(value)] = value
            end += len(value)
            self._start += whole
        return self._buffer[begin:end]

    def _waits_for_fragment(self, context_id: int) -> bool:
        """Whether a fragment comes next; once it has begun, all of it is waited for."""
        if not self._has(_FRAGMENT.size):
            return False
        whole = self._fragment_in_buffer(context_id)
        return bool(whole) and self._has(whole)

    def _fragment_in_buffer(self, context_id: int) -> int:
        """Length of the PDU that comes next, if its head is here and says that it is one; else 0.

        One with several values is left to pynetdicom; no sender is known that makes such.
        """
        if not self._holds(_FRAGMENT.size):
            return 0
        kind, length, of_value, context, control = _FRAGMENT.unpack_from(self._buffer, self._start)
        expected = (_P_DATA_TF, length - 4, context_id, _MIDDLE_OF_DATA_SET)
        whole = _PDU_HEAD_BYTES + length
        fits = (kind, of_value, context, control) == expected and whole <= BUFFER_BYTES
        return int(whole) if fits else 0

    def _holds(self, size: int) -> bool:
        return self._end - self._start >= size

    def _has(self, size: int) -> bool:
        """Whether so many bytes are in the buffer; waits for the rest of what has begun."""
        while not self._holds(size):
            if self._end == self._start and not super().ready:
                return False
            try:
                if not self._fill():
                    return False
            except OSError:  # pynetdicom will meet it again, and knows what to do
                return False
        return True

    def _fill(self) -> bool:
        """Read what there is, at least a byte; False if the connection has ended."""
        if self._start:
            left = self._buffer[self._start : self._end]
            self._buffer[: len(left)] = left
            self._start, self._end = 0, len(left)
        count = self.socket.recv_into(self._buffer[self._end :])
        self._end += count
        self.assoc.dul._idle_timer.restart()  # noqa: SLF001  as its own loop does after a PDU
        return count > 0

    def _nothing_to_send(self) -> bool:
        """Whether pynetdicom's loop has no other work, such as an abort of ours."""
        return bool(self.assoc.dul.to_provider_queue.empty())
