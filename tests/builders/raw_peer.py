"""A peer that speaks DICOM byte by byte, so that it can say what no toolkit would send (PS3.8 9.3)."""

from __future__ import annotations

import socket
import struct
from io import BytesIO
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import ComputedRadiographyImageStorage

CR = str(ComputedRadiographyImageStorage)
ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, ABORT = 0x02, 0x03, 0x04, 0x07
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
NO_DATA_SET, DATA_SET = 0x0101, 0x0001


class RawPeer:
    """One connection; `associate` makes it an association with one context for CR, number 1."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout_s: float = 60) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=timeout_s, source_address=(host, 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(self, *, sop_class: str = CR, padding: bytes = b"") -> int:
        """Ask for an association; the type of the PDU that answers."""
        self.socket.sendall(pdu(0x01, associate_request(sop_class) + padding))
        kind, _ = self.read_pdu()
        return kind

    def send_value(self, control: int, value: bytes) -> None:
        """One P-DATA-TF with one value."""
        self.socket.sendall(p_data(control, value))

    def send_command(self, **elements: object) -> None:
        """A whole command set."""
        self.send_value(COMMAND | LAST, command_set(**elements))

    def flood(self, piece: bytes, *, at_most: int) -> int:
        """Send a piece again and again until the other side has had enough; how many bytes went."""
        sent = 0
        while sent < at_most:
            try:
                self.socket.sendall(piece)
            except OSError:
                break
            sent += len(piece)
        return sent

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and content of the next PDU; type 0 if the connection is closed."""
        try:
            head = self._read(6)
            kind, length = struct.unpack(">BxL", head)
            return kind, self._read(length)
        except (ConnectionError, struct.error):
            return 0, b""

    def answer(self) -> Dataset | None:
        """The command set of the next answer; None if there is an abort or nothing."""
        kind, content = self.read_pdu()
        if kind != P_DATA_TF:
            return None
        return decode(BytesIO(content[6:]), True, True)

    def is_closed(self) -> bool:
        """Wait until the other side closes the connection, whatever it says before."""
        while True:
            kind, _ = self.read_pdu()
            if kind == 0:
                return True

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self.socket.recv(size - len(read))
            if not piece:
                raise ConnectionError
            read += piece
        return read


def pdu(kind: int, content: bytes) -> bytes:
    """A PDU with its head (PS3.8 9.3.1)."""
    return struct.pack(">BxL", kind, len(content)) + content


def p_data(control: int, value: bytes, *, context: int = 1) -> bytes:
    """A P-DATA-TF of one value (PS3.8 9.3.5)."""
    return pdu(P_DATA_TF, struct.pack(">LBB", len(value) + 2, context, control) + value)


def command_set(**elements: object) -> bytes:
    """A command set in Implicit VR Little Endian (PS3.7 6.3.1)."""
    command = Dataset()
    for keyword, value in elements.items():
        setattr(command, keyword, value)
    return encode(command, True, True)


def store_request(**changes: object) -> dict[str, object]:
    """The elements of a C-STORE request (PS3.7 9.3.1.1); one that is None is left out."""
    elements = {
        "AffectedSOPClassUID": CR,
        "CommandField": C_STORE_RQ,
        "MessageID": 7,
        "Priority": 0,
        "CommandDataSetType": DATA_SET,
        "AffectedSOPInstanceUID": "1.2.3.66",
        **changes,
    }
    return {keyword: value for keyword, value in elements.items() if value is not None}


def associate_request(sop_class: str) -> bytes:
    """What follows the head of an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    context = b"\x01\0\0\0" + item(0x30, sop_class) + item(0x40, ExplicitVRLittleEndian)
    user = item(0x51, struct.pack(">L", 131_072)) + item(0x52, "1.2.3.4")
    titles = b"PNEUMO".ljust(16) + b"ATTACKER".ljust(16)
    return (
        b"\0\1\0\0" + titles + bytes(32) + item(0x10, "1.2.840.10008.3.1.1.1")
        + item(0x20, context) + item(0x50, user)
    )  # fmt: skip


def item(kind: int, content: str | bytes) -> bytes:
    """An item of a PDU: type and length of two bytes (PS3.8 9.3.2.1)."""
    encoded = content.encode() if isinstance(content, str) else content
    return struct.pack(">BxH", kind, len(encoded)) + encoded
