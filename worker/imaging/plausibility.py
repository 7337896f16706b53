"""Is this a DICOM file at all? Asked before pydicom is told to read it whatever it is."""

from __future__ import annotations

import struct
from typing import Any

_PREAMBLE = 128
_FIRST_GROUPS = {0x0002, 0x0008}
"""A file without preamble starts with its file meta (0002) or with the instance's first group."""


def looks_like_dicom(file: Any) -> bool:
    """Whether a seekable binary file has the DICM mark or starts with a plausible element.

    The file's position is where it was, afterwards.
    """
    start = file.tell()
    head = file.read(_PREAMBLE + 4)
    file.seek(start)
    return head[_PREAMBLE:] == b"DICM" or _starts_with_element(head)


def _starts_with_element(head: bytes) -> bool:
    if len(head) < 16:
        return False
    group_little, element, length = struct.unpack_from("<HHI", head)
    (group_big,) = struct.unpack_from(">H", head)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = group_little in _FIRST_GROUPS and length < 0x1_0000 and element < 0x2000
    return (explicit and {group_little, group_big} & _FIRST_GROUPS != set()) or implicit
