"""The digest of a data set: of a file without its file meta, which each program writes anew.

The same image comes by C-STORE, from a folder and from a PACS with three different file metas
(PS3.10 7.1: who wrote the file, when, in whose name), and is the same image.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

PREAMBLE = 128
CHUNK = 1 << 20
_FILE_META = 0x0002
_LONG = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV"})
"""Value representations with a length of four bytes after two that are reserved, PS3.5 7.1.2."""


def data_set_sha256(path: Path) -> str:
    """64 hex digits over the bytes after the file meta; over all where there is none."""
    with path.open("rb") as file:
        file.seek(_begin_of_data_set(file))
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _begin_of_data_set(file: BinaryIO) -> int:
    """The file meta is always in Explicit VR Little Endian, PS3.10 7.1."""
    head = file.read(PREAMBLE + 4)
    position = PREAMBLE + 4 if head[PREAMBLE:] == b"DICM" else 0
    while True:
        file.seek(position)
        header = file.read(12)
        if len(header) < 8 or struct.unpack_from("<H", header)[0] != _FILE_META:
            return position
        if header[4:6] in _LONG and len(header) == 12:
            position += 12 + struct.unpack_from("<I", header, 8)[0]
        else:
            position += 8 + struct.unpack_from("<H", header, 6)[0]
