"""The bytes of one connection: read in large pieces, passed on without copies, and never without end.

pynetdicom reads 4 KiB at a time and has each PDU go through a state machine (PS3.8 9.2) and six
objects. That is right for all but the bulk of the bytes: fragments in the middle of a data set, in
state Sta6, which change no state. Those are found here in the buffer where they were received.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom.transport import AssociationSocket

BUFFER_BYTES = 1 << 20
"""Eight PDUs of the length that we ask for; an association costs so much memory."""
MAX_PDU_BYTES = 1 << 22
"""Some senders pass over the length that we ask for (PS3.8 D.1); but memory has an end."""
LARGE_PDU_BYTES = 1 << 16
"""A larger PDU carries data, for no other type has so many bytes."""
MAX_VALUES = 1000
"""Presentation data values in a large P-DATA-TF: each becomes objects of some hundred bytes."""
MAX_REQUEST_BYTES = 1 << 18
"""Of an A-ASSOCIATE-RQ: 128 contexts with all transfer syntaxes take a quarter of it (PS3.8 9.3.2)."""

_PDU_HEAD_BYTES = 6
"""PDU type and length, which does not count itself (PS3.8 9.3.1)."""
_FRAGMENT = struct.Struct(">BxLLBB")
"""PDU type and length; then length, context and control header of its first value (PS3.8 9.3.5)."""
_P_DATA_TF = 4
_WAITS_FOR_CLOSE = "Sta13"
"""The state after an abort or a release (PS3.8 9.2.2)."""
_MIDDLE_OF_DATA_SET = 0
"""Message control header: of a data set, and not its last fragment (PS3.8 E.2)."""


def _refuse_many_values(content: bytearray) -> None:
    """Raise OSError for a P-DATA-TF in thousands of pieces; its values follow each other (PS3.8 9.3.5)."""
    position = values = 0
    while position + 4 <= len(content):
        position += 4 + int.from_bytes(content[position : position + 4], "big")
        values += 1
        if values > MAX_VALUES:
            raise OSError("a P-DATA-TF with more values than any sender has a reason for")


class Progress:
    """How a connection gets on: written by the thread that reads it, read by the server's."""

    def __init__(self, *, period_s: float, min_bytes_per_s: int) -> None:
        self._period_s, self._min_bytes_per_s = period_s, min_bytes_per_s
        self.received = 0
        """Bytes so far."""
        self._pdu_since: float | None = None
        """A PDU has begun and is not complete."""
        self._since: float | None = None
        """Begin of the period, within a message."""
        self._received_then = 0
        self._excluded_s = 0.0
        """Of the period, time that was ours and not the sender's."""

    @contextmanager
    def reading_pdu(self) -> Iterator[None]:
        """A PDU is being read for the length of the block."""
        self._pdu_since = time.monotonic()
        try:
            yield
        finally:
            self._pdu_since = None

    def begin_message(self) -> None:
        """A message begins to arrive."""
        self._received_then, self._excluded_s = self.received, 0.0
        self._since = time.monotonic()

    def end_message(self) -> None:
        """The message is complete; the next may take its time."""
        self._since = None

    def exclude(self, seconds: float) -> None:
        """Leave out time in which we wrote to the disk and could not read."""
        self._excluded_s += seconds

    def too_slow(self) -> str | None:
        """Return which limit is broken; None if none is. Called again and again."""
        moment = time.monotonic()
        since, pdu_since = self._since, self._pdu_since
        if pdu_since is not None and moment - pdu_since > self._period_s:
            return "PDU_INCOMPLETE"
        if since is None or moment - since - self._excluded_s < self._period_s:
            return None
        if self.received - self._received_then < self._period_s * self._min_bytes_per_s:
            return "TOO_SLOW"
        self.begin_message()  # the next period
        return None


class BufferedSocket(AssociationSocket):
    """pynetdicom's view of a connection, with a buffer of ours in between."""

    def __init__(
        self,
        association: Any,
        connection: socket.socket,
        *,
        silence_timeout_s: float,
        min_bytes_per_s: int,
    ) -> None:
        # By the kernel: a timeout of Python's own would cost a system call for every read.
        timeout = struct.pack("ll", int(silence_timeout_s), int(silence_timeout_s % 1 * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        super().__init__(association, client_socket=connection)
        self.progress = Progress(period_s=silence_timeout_s, min_bytes_per_s=min_bytes_per_s)
        self.is_ending = False
        """The association is being aborted: nothing more is read, so the connection is closed."""
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0

    @property
    def ready(self) -> bool:
        """Return whether there is something to read."""
        if self.is_ending or self.assoc.dul.state_machine.current_state == _WAITS_FOR_CLOSE:
            return False  # then pynetdicom closes the connection, instead of reading nonsense
        return (self._end > self._start and self.socket is not None) or super().ready

    def recv(self, size: int) -> bytearray:
        """Return `size` bytes, or fewer if the connection ends. Raises OSError, which closes it."""
        if size > (MAX_PDU_BYTES if self.assoc.is_established else MAX_REQUEST_BYTES):
            raise OSError("a PDU longer than any sender has a reason for")
        received = bytearray()
        with self.progress.reading_pdu():
            while len(received) < size and (self._end > self._start or self._fill()):
                upto = min(self._end, self._start + size - len(received))
                received += self._buffer[self._start : upto]
                self._start = upto
        if size > LARGE_PDU_BYTES:
            _refuse_many_values(received)
        return received

    def middle_of_data_set(self, context_id: int) -> Iterator[memoryview]:
        """Yield what has arrived of a data set, up to and without its last fragment.

        A piece is valid until the next one is asked for. Whatever else comes (the last fragment,
        an abort, nonsense, nothing at all) is left for pynetdicom to read.
        """
        while (
            not self.is_ending and self._nothing_to_send() and self._waits_for_fragment(context_id)
        ):
            yield self._fragments(context_id)

    def _fragments(self, context_id: int) -> memoryview:
        """Return all whole fragments in the buffer, moved together: digest and disk like large pieces.

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
        """Return whether a fragment comes next; once it has begun, wait for all of it."""
        if not self._has(_FRAGMENT.size):
            return False
        whole = self._fragment_in_buffer(context_id)
        return bool(whole) and self._has(whole)

    def _fragment_in_buffer(self, context_id: int) -> int:
        """Return the length of the next PDU, if its head has arrived and is a fragment; else 0.

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
        """Return whether so many bytes are in the buffer; wait for the rest of what has begun."""
        with self.progress.reading_pdu():
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
        """Read what has arrived, at least a byte; return False if the connection has ended."""
        if self._start:
            left = self._buffer[self._start : self._end]
            self._buffer[: len(left)] = left
            self._start, self._end = 0, len(left)
        count = self.socket.recv_into(self._buffer[self._end :])
        self._end += count
        self.progress.received += count
        self.assoc.dul._idle_timer.restart()  # noqa: SLF001  as its own loop does after a PDU
        return count > 0

    def _nothing_to_send(self) -> bool:
        """Return whether pynetdicom's loop has no other work, such as an abort of ours."""
        return bool(self.assoc.dul.to_provider_queue.empty())
