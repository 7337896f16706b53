"""Messages of several parts, however the network cuts them, and those that break off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.archive.retrieve.multipart import MultipartError, boundary_of, parts

BOUNDARY = b"sep"
BODIES = (b"first", b"", b"--se\r\n-- se\r\n--se", b"\x00\r\n\r\n\xff")


def message(*bodies: bytes, header: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    inner = b"".join(b"--sep\r\n" + header + b"\r\n" + body + b"\r\n" for body in bodies)
    return inner + b"--sep--"


def read(data: bytes, cuts: list[int] | None = None) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts or []} | {len(data)})
    begins = [0, *ends]
    chunks = [data[a:b] for a, b in zip(begins, ends, strict=False) if a < b]
    return [b"".join(part) for part in parts(chunks, BOUNDARY)]


@given(cuts=st.lists(st.integers(0, 300), max_size=40))
def test_it_does_not_matter_where_the_network_cuts(cuts):
    assert read(message(*BODIES), cuts) == list(BODIES)


@pytest.mark.parametrize("around", [b"", b"\r\n", b"a preamble\r\n"])
def test_what_stands_before_and_after_is_ignored(around):
    assert read(around + message(b"one") + b"\r\nan epilogue") == [b"one"]


def test_a_part_need_not_have_a_header():
    assert read(message(b"one", header=b"")) == [b"one"]


def test_every_cut_short_message_is_told_from_a_whole_one():
    whole = message(b"one", b"two")
    for length in range(len(whole)):
        with pytest.raises(MultipartError):
            read(whole[:length])


def test_a_part_that_is_not_read_to_its_end_is_passed_over():
    first = [next(part) for part in parts([message(b"one" * 50, b"two" * 50)], BOUNDARY)]
    assert [chunk[:3] for chunk in first] == [b"one", b"two"]


def test_a_large_part_is_never_held_as_a_whole():
    piece = b"x" * 1000
    chunks = [b"--sep\r\n\r\n", *[piece] * 100, b"\r\n--sep--"]
    sizes = [len(chunk) for part in parts(chunks, BOUNDARY) for chunk in part]
    assert sum(sizes) == 100_000
    assert max(sizes) < 1100


def test_a_header_without_end_is_refused():
    with pytest.raises(MultipartError):
        read(b"--sep\r\n" + b"x" * 70_000)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('multipart/related; boundary="a b;c"; type="application/dicom"', b"a b;c"),
        ("Multipart/Related; BOUNDARY=abc", b"abc"),
        ("multipart/related", None),
        ("", None),
    ],
)
def test_the_boundary_is_found_however_it_is_written(content_type, boundary):
    assert boundary_of(content_type) == boundary
