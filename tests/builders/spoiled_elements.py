"""Elements in every wrong form that we could think of, put together from bytes: pydicom would not write most."""

from __future__ import annotations

import struct

from pydicom.datadict import tag_for_keyword

LONG_LENGTHS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
"""VRs with two reserved bytes and a 32-bit length (PS3.5 7.1.2)."""
UNDEFINED = 0xFFFFFFFF


def element(keyword: str, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian; `length` may lie."""
    tag = tag_for_keyword(keyword)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    length = len(value) if length is None else length
    if vr in LONG_LENGTHS:
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def nested(keyword: str, levels: int, *, defined: bool) -> bytes:
    content = b""
    for _ in range(levels):
        if defined:
            content = element(keyword, "SQ", item(content))
        else:
            ends = (struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
            begin = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
            content = element(keyword, "SQ", begin + content + ends[0] + ends[1], UNDEFINED)
    return content


NUMBERS = [
    *(
        "9" * 400,
        "-" + "9" * 400,
        "1" + "0" * 5000,
        "inf",
        "-inf",
        "nan",
        "1e400",
        "1e308",
        "-1e308",
    ),
    *("1e-320", "0", "-1", "4294967296", "2147483648", "abc", "1,5", "1\\2", "\\", " ", "1e5"),
]
WORDS = {
    "10,000 characters": b"A" * 10_000,
    "bytes of no character set": b"\xff\xfe\x80\x1b$)C\xff",
    "NUL within": b"DOE\0JANE",
    "many values": b"A\\" * 500,
    "a name": b"DOE^JANE",
}
SPOILINGS = {
    "absent": lambda _k, _v: b"",
    "empty": lambda k, v: element(k, v, b""),
    **{
        f"{vr} of {size} bytes": lambda k, _v, vr=vr, size=size: element(k, vr, b"\x7f" * size)
        for vr in ("US", "SS", "FD", "OB", "UN", "XX")
        for size in (1, 2, 8)
    },
    **{
        f"{vr} {number[:12]!r} of {len(number)}": lambda k, _v, vr=vr, n=number: element(
            k, vr, n.encode()
        )
        for vr in ("IS", "DS", "LO")
        for number in NUMBERS
    },
    **{
        f"FD {number}": lambda k, _v, n=number: element(k, "FD", struct.pack("<d", float(n)))
        for number in ("inf", "-inf", "nan", "1e308", "-0.0", "5e-324")
    },
    **{
        f"{vr or 'its VR'}, {name}": lambda k, v, vr=vr, value=value: element(k, vr or v, value)
        for vr in (None, "LO", "PN")
        for name, value in WORDS.items()
    },
    "a sequence of no items": lambda k, _v: element(k, "SQ", b""),
    "a sequence of one item": lambda k, _v: element(
        k, "SQ", item(element("PatientName", "PN", b"DOE^JANE"))
    ),
    "a sequence of an empty item": lambda k, _v: element(k, "SQ", item(b"")),
    "a sequence that is text": lambda k, _v: element(k, "SQ", b"DOE^JANE" * 3),
    "codes that are sequences": lambda k, _v: element(
        k,
        "SQ",
        item(
            element("CodeValue", "SQ", item(b""))
            + element("CodingSchemeDesignator", "SQ", item(b""))
            + element("LUTDescriptor", "FD", struct.pack("<3d", 4.0, float("inf"), 16.0))
            + element("LUTData", "DS", b"nan\\inf\\1e400")
        ),
    ),
    "20 levels, defined": lambda k, _v: nested(k, 20, defined=True),
    "20 levels, undefined": lambda k, _v: nested(k, 20, defined=False),
    "1,000 levels, defined": lambda k, _v: nested(k, 1000, defined=True),
    "1,000 levels, undefined": lambda k, _v: nested(k, 1000, defined=False),
    "longer than the file": lambda k, v: element(k, v, b"12", 0xFFFE),
}
