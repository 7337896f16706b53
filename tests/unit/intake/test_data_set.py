"""The digest of a data set does not know how its file was wrapped."""

from __future__ import annotations

import hashlib

import pytest
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from tests.builders import ALL_SYNTAXES, write_instance
from worker.intake.data_set import data_set_sha256


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
    assert data_set_sha256(path) == data_set_sha256(other)


def test_another_pixel_is_another_data_set(tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    (tmp_path / "b.dcm").write_bytes(content)
    assert data_set_sha256(path) != data_set_sha256(tmp_path / "b.dcm")


def test_it_is_the_digest_of_what_follows_the_file_meta(tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    content = path.read_bytes()
    begin = content.index(b"\x08\x00\x05\x00")  # (0008,0005), its first element
    assert data_set_sha256(path) == hashlib.sha256(content[begin:]).hexdigest()

    (tmp_path / "naked.dcm").write_bytes(content[begin:])
    assert data_set_sha256(tmp_path / "naked.dcm") == data_set_sha256(path)


@pytest.mark.parametrize("content", [b"", b"\x02\x00", b"\x02\x00\x00\x00UL", b"x" * 131])
def test_a_file_that_ends_too_soon_has_a_digest_as_well(tmp_path, content):
    (tmp_path / "short").write_bytes(content)
    assert len(data_set_sha256(tmp_path / "short")) == 64
