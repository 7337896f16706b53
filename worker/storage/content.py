"""The digest of a file's data set behind a file meta of ours, whatever file meta it came with.

The same image comes by C-STORE, from a folder and from a PACS with three different file metas
(PS3.10 7.1: who wrote the file, when, in whose name), and is the same image. An instance that comes by
C-STORE gets our file meta on arrival, so the digest of its file suffices and nothing is read twice.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pynetdicom.dsutils import create_file_meta, encode_file_meta

IMPLEMENTATION_UID = "2.25.32809342408453178338295591675636093279"
IMPLEMENTATION_VERSION = "PNEUMO_1"
"""Who wrote the file (PS3.10 7.1). Constant over all versions: a resend gives the same bytes."""

PREAMBLE = 128
CHUNK = 1 << 20
_FILE_META = 0x0002
_LONG_LENGTH_VRS = frozenset(
    {b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV"}
)
"""Value representations with a length of four bytes after two that are reserved, PS3.5 7.1.2."""
_IDENTIFYING_ELEMENTS = (0x0002, 0x0003, 0x0010)
"""Media Storage SOP Class UID, Media Storage SOP Instance UID, Transfer Syntax UID."""
_LONGEST_VALUE = 1024
"""Bytes; a UID has 64 at the most, and some senders know no limit."""


def file_head(sop_class_uid: Any, sop_instance_uid: Any, transfer_syntax: Any) -> bytes:
    """Return the bytes before the data set of a DICOM file (PS3.10 7.1): preamble, DICM, file meta."""
    file_meta = create_file_meta(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax=transfer_syntax,
        implementation_uid=IMPLEMENTATION_UID,
        implementation_version=IMPLEMENTATION_VERSION,
    )
    return b"".join((b"\0" * PREAMBLE, b"DICM", encode_file_meta(file_meta)))


def encode_file(event: Any) -> bytes:
    """Return a complete C-STORE request (of a C-GET) as a DICOM file: our head, the sender's bytes.

    `event`: pynetdicom's EVT_C_STORE.
    """
    head = file_head(
        event.request.AffectedSOPClassUID,
        event.request.AffectedSOPInstanceUID,
        event.context.transfer_syntax,
    )
    return head + bytes(event.request.DataSet.getbuffer())


def content_sha256(path: Path) -> str:
    """Return 64 hex digits: the SHA-256 that the file would have, had its data set come by C-STORE.

    For a file without the identifying elements, the digest is over the data set alone.
    """
    with path.open("rb") as file:
        meta = dict(_file_meta(file))
        identifying = [meta.get(element, "") for element in _IDENTIFYING_ELEMENTS]
        digest = hashlib.sha256(file_head(*identifying) if all(identifying) else b"")
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _file_meta(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield element numbers and short values of group 0002; leave the file at its data set.

    The file meta is always in Explicit VR Little Endian, PS3.10 7.1.
    """
    head = file.read(PREAMBLE + 4)
    position = PREAMBLE + 4 if head[PREAMBLE:] == b"DICM" else 0
    while True:
        file.seek(position)
        header = file.read(12)
        if len(header) < 8 or struct.unpack_from("<H", header)[0] != _FILE_META:
            file.seek(position)
            return
        if header[4:6] in _LONG_LENGTH_VRS and len(header) == 12:
            position += 12 + struct.unpack_from("<I", header, 8)[0]
            continue
        length = struct.unpack_from("<H", header, 6)[0]
        if length <= _LONGEST_VALUE:
            file.seek(position + 8)
            value = file.read(length).decode("iso8859").rstrip("\0 ")
            yield struct.unpack_from("<H", header, 2)[0], value
        position += 8 + length
