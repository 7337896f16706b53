"""The digest of a content does not know how its file was wrapped."""

from __future__ import annotations

import hashlib

import pytest
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from tests.builders.dicom import ALL_SYNTAXES, write_instance
from worker.storage.content import content_sha256, file_head


def rewrap(path, target, **file_meta):
    """The same data set bytes behind another file meta."""
    dataset = dcmread(path)
    for keyword, value in file_meta.items():
        setattr(dataset.file_meta, keyword, value)
    dcmwrite(target, dataset, enforce_file_format=True)
    return target


@pytest.mark.parametrize("syntax", ALL_SYNTAXES, ids=lambda syntax: syntax.name)
def test_another_file_meta_is_the_same_data_set(tmp_path, syntax):
    path = write_instance(tmp_path / "a.dcm", transfer_syntax=syntax)
    other = rewrap(
        path,
        tmp_path / "b.dcm",
        ImplementationVersionName="OTHER_PROGRAM",
        SourceApplicationEntityTitle="ELSEWHERE",
        PrivateInformationCreatorUID="1.2.3",
        PrivateInformation=b"\x02\x00" * 300,  # OB, whose length has four bytes
    )
    assert path.read_bytes() != other.read_bytes()
    assert content_sha256(path) == content_sha256(other)


def test_another_pixel_is_another_data_set(tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    (tmp_path / "b.dcm").write_bytes(content)
    assert content_sha256(path) != content_sha256(tmp_path / "b.dcm")


def test_it_is_the_digest_of_the_data_set_behind_our_own_file_meta(tmp_path):
    """So a file that came by C-STORE, which has this head already, is its own content."""
    path = write_instance(tmp_path / "a.dcm")
    content, meta = path.read_bytes(), dcmread(path).file_meta
    begin = content.index(b"\x08\x00\x05\x00")  # (0008,0005), its first element
    head = file_head(
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID
    )
    (tmp_path / "ours.dcm").write_bytes(head + content[begin:])
    ours = hashlib.sha256(head + content[begin:]).hexdigest()
    assert content_sha256(path) == content_sha256(tmp_path / "ours.dcm") == ours


def test_another_transfer_syntax_is_another_content(tmp_path):
    """The same bytes, read in another way: other pixels."""
    path = write_instance(tmp_path / "a.dcm")
    content = path.read_bytes()
    little, big = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"
    assert content.count(little) == 1
    (tmp_path / "b.dcm").write_bytes(content.replace(little, big))
    assert content_sha256(path) != content_sha256(tmp_path / "b.dcm")


def test_of_a_file_that_does_not_say_what_it_is_only_the_data_set_counts(tmp_path):
    naked = b"\x08\x00\x05\x00\0\0\0\0"
    (tmp_path / "naked.dcm").write_bytes(naked)
    assert content_sha256(tmp_path / "naked.dcm") == hashlib.sha256(naked).hexdigest()


@pytest.mark.parametrize("content", [b"", b"\x02\x00", b"\x02\x00\x00\x00UL", b"x" * 131])
def test_a_file_that_ends_too_soon_has_a_digest_as_well(tmp_path, content):
    (tmp_path / "short").write_bytes(content)
    assert len(content_sha256(tmp_path / "short")) == 64
