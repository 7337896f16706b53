"""What bytes are by their first ones, whatever a name or a header calls them.

Compressed frames are told apart, and files that are no DICOM are named, so that a refusal says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.imaging.codestreams import START_OF_JPEG_2000
from worker.imaging.refusals import RefusedInstance, Step, refused

HEAD = 512
"""Bytes at the start of a file that hold every signature below."""
_ITEM = b"\xfe\xff\x00\xe0"
"""(FFFE,E000): encapsulated pixel data start with it (PS3.5 A.4)."""
_START_OF_JPEG = b"\xff\xd8\xff"
_JP2_BOX = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of file that is handed over in place of DICOM."""

    name: str
    """As in "found a ZIP archive"."""
    start: bytes
    """The signature."""
    offset: int = 0
    """Where it stands."""
    is_archive: bool = False
    """Whether there may be images in it."""


FILE_KINDS = (
    # A Java archive begins with its manifest: a viewer on a medium, and no container of images.
    FileKind(name="a Java archive", start=b"META-INF", offset=30),
    FileKind(name="a ZIP archive", start=b"PK\x03\x04", is_archive=True),
    FileKind(name="an empty ZIP archive", start=b"PK\x05\x06", is_archive=True),
    FileKind(name="a tar archive", start=b"ustar", offset=257, is_archive=True),
    FileKind(name="a gzip archive", start=b"\x1f\x8b\x08", is_archive=True),
    FileKind(name="a bzip2 archive", start=b"BZh", is_archive=True),
    FileKind(name="an xz archive", start=b"\xfd7zXZ\x00", is_archive=True),
    FileKind(name="a 7-Zip archive", start=b"7z\xbc\xaf\x27\x1c", is_archive=True),
    FileKind(name="a RAR archive", start=b"Rar!\x1a\x07", is_archive=True),
    FileKind(name="a JPEG file", start=_START_OF_JPEG),
    FileKind(name="a JPEG 2000 file", start=_JP2_BOX),
    FileKind(name="a JPEG 2000 stream", start=START_OF_JPEG_2000),
    FileKind(name="a PNG file", start=b"\x89PNG\r\n\x1a\n"),
    FileKind(name="a TIFF file", start=b"II*\x00"),
    FileKind(name="a TIFF file", start=b"MM\x00*"),
    FileKind(name="a PDF file", start=b"%PDF-"),
)


def file_kind(head: bytes) -> FileKind | None:
    """The kind of a file by its first `HEAD` bytes; None for one that is not listed."""
    return next((kind for kind in FILE_KINDS if head.startswith(kind.start, kind.offset)), None)


def stream_kind(data: bytes) -> str | None:
    """Which of the compressed streams of PS3.5 annex A this is, by its first bytes; None for others."""
    if data.startswith((START_OF_JPEG_2000, _JP2_BOX)):
        return "JPEG 2000"
    if data.startswith(_START_OF_JPEG):
        return "JPEG-LS" if _is_jpeg_ls(data) else "JPEG"
    return None


def is_encapsulated(data: bytes) -> bool:
    """Whether pixel data start with an item, as compressed ones do."""
    return data.startswith(_ITEM)


def syntax_mismatch(found: str, expected: str) -> RefusedInstance:
    """The refusal of pixel data of another kind than Transfer Syntax UID says; never guessed at."""
    return refused(
        "TRANSFER_SYNTAX_MISMATCH",
        step=Step.DECODE,
        tag="(0002,0010) Transfer Syntax UID",
        found=f"{found} in (7FE0,0010) Pixel Data",
        expected=f"{expected}, as the transfer syntax says",
        advice="Its source must name the transfer syntax that the pixels have.",
    )


def _is_jpeg_ls(data: bytes) -> bool:
    """Whether the frame header is SOF55 (ITU-T T.87 C.2.2): it comes before any start of scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xF7:
            return True
        if (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xDA:
            return False
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False
