"""Read a multipart/related message (RFC 2046 5.1) part by part, and each part chunk by chunk.

No more than one chunk is in memory, however large an image is. Only the closing delimiter ends a
message, so that a truncated one is recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message

MAX_HEADER_BYTES = 65_536


class MultipartError(Exception):
    """The message is truncated, or is no multipart message."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary parameter of a Content-Type; None if it has none."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    return boundary.encode("latin-1") if isinstance(boundary, str) and boundary else None


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Yield each part's body as an iterator of chunks, to be read before the next part is requested.

    Raises MultipartError.
    """
    # The first delimiter need not follow a line break: the reader begins as if after one.
    reader = _Reader(chunks, b"\r\n--" + boundary)
    for _ in reader.until_delimiter():
        pass  # ignore a preamble
    while reader.next_part():
        body = reader.until_delimiter()
        yield body
        for _ in body:
            pass


class _Reader:
    """A buffer over the chunks that never grows past one chunk and one delimiter."""

    def __init__(self, chunks: Iterable[bytes], delimiter: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = delimiter
        self._held = bytearray(b"\r\n")

    def until_delimiter(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, and skip the delimiter."""
        keep = len(self._delimiter) - 1
        while (found := self._held.find(self._delimiter)) < 0:
            if len(self._held) > keep:
                yield self._take(len(self._held) - keep)
            self._fill()
        if found:
            yield self._take(found)
        self._take(len(self._delimiter))

    def next_part(self) -> bool:
        """After a delimiter, skip the header of the next part; False if the delimiter closed the message."""
        while len(self._held) < 2:
            self._fill()
        if self._held.startswith(b"--"):
            return False
        while (found := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > MAX_HEADER_BYTES:
                raise MultipartError
            self._fill()
        self._take(found + 4)
        return True

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _fill(self) -> None:
        chunk = next(self._chunks, b"")
        if not chunk:
            raise MultipartError
        self._held += chunk
