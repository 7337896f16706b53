"""Paths become readable files, and every refusal says which file and what to do, never a path."""

from __future__ import annotations

import zipfile

import pytest

from tests.builders.dicom import make_study, write_instance
from worker.errors import Rejected
from worker.intake.accept import accept_study
from worker.intake.files import limits_of, read_headers
from worker.settings import read_settings

NAME = "DOE^JANE"
"""In every folder's and file's name, as hospitals do."""
LIMITS = limits_of(read_settings())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path):
    return read_settings(state_dir=tmp_path / "site")


def text_file(folder):
    path = folder / f"{NAME}.txt"
    path.write_text("not DICOM, and longer than a preamble " * 10)
    return path


def dicomdir(folder):
    return write_instance(folder / "DICOMDIR", sop_class_uid="1.2.840.10008.1.3.10")


def good(folder, number=1, **keywords):
    return write_instance(folder / f"{number}-{NAME}.dcm", seed=number, **keywords)


REFUSALS = {
    "nothing given": (lambda _: [], r"NO_FILES: No file was given"),
    "an empty folder": (lambda f: [f], r"NO_FILES: No file was given"),
    "a folder without DICOM": (
        lambda f: [text_file(f), f][1:],
        r"NO_FILES: None of the 1 files found is a DICOM instance",
    ),
    "no such path": (
        lambda f: [good(f), f / "gone"],
        r"FILE_UNREADABLE: File 2 of 2: .*\(ENOENT\)\. Check that it exists",
    ),
    "a broken link in a folder": (
        lambda f: [(f / "a-link").symlink_to(f / "gone"), good(f), f][2:],
        r"LINK_REFUSED: File 2 of 2: Found a symbolic link; expected a regular file",
    ),
    "a text file": (
        lambda f: [good(f), text_file(f), good(f, 2)],
        r"NOT_DICOM: File 2 of 3: .* Only DICOM instances",
    ),
    "a DICOMDIR by name": (
        lambda f: [dicomdir(f)],
        r"DICOMDIR: File 1 of 1: .* Give the files or the folder",
    ),
    "no study UID": (
        lambda f: [good(f), good(f, 2, StudyInstanceUID="")],
        r"STUDY_UID_MISSING: File 2 of 2: \(0020,000D\) Study Instance UID",
    ),
    "a UID that is none": (
        lambda f: [good(f, sop_instance_uid=NAME)],
        r"SOP_INSTANCE_UID_INVALID: File 1 of 1: .* found 8 characters that are no UID",
    ),
    "two studies": (
        lambda f: [good(f), good(f, 2)],
        r"SEVERAL_STUDIES: File 2 of 2 belongs to another study .* `pneumo enqueue`",
    ),
}


@pytest.mark.parametrize(("given", "words"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_no_study_is_refused_in_words(folder, settings, given, words):
    with pytest.raises(Rejected, match=words) as told:
        accept_study(given(folder), site=settings)
    assert NAME not in str(told.value)
    assert told.value.__cause__ is None
    assert not settings.intake_dir.exists(), "refused before anything is copied"


def test_one_path_needs_no_list(folder):
    path = good(folder)
    for given in (path, str(path), folder, [str(path)]):
        assert [file.path for file in read_headers(given, LIMITS).readable] == [path]


def test_a_folder_is_searched_through_and_what_is_no_instance_is_counted(folder):
    inner = folder / "series" / "1"
    paths = [good(folder), *make_study(inner, n_instances=2)]
    text_file(folder)
    text_file(inner)
    dicomdir(folder)

    files = read_headers([folder], LIMITS)

    assert [file.path for file in files.readable] == paths
    assert [(file.position, file.of) for file in files.readable] == [(1, 6), (4, 6), (5, 6)]
    assert (files.skipped, files.directories) == (2, 1)
    assert files.refused == ()


def test_an_archive_in_a_folder_is_not_skipped(folder):
    good(folder)
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("image.dcm", b"x")

    (refused,) = read_headers([folder], LIMITS).refused

    assert refused.error.code == "ARCHIVE_NOT_UNPACKED"


def test_a_broken_instance_in_a_folder_is_not_skipped(folder):
    good(folder)
    good(folder, 2, StudyInstanceUID="")
    files = read_headers(folder, LIMITS)
    assert [(refused.position, refused.of) for refused in files.refused] == [(2, 2)]
    assert files.refused[0].error.code == "STUDY_UID_MISSING"


def test_every_file_is_reported_as_it_is_read(folder):
    seen = []
    read_headers(
        [good(folder), text_file(folder), good(folder, 2)],
        LIMITS,
        on_file=lambda: seen.append(len(seen)),
    )
    assert seen == [0, 1, 2]


def test_printed_values_hold_no_path(folder):
    good(folder)
    text_file(folder)
    assert NAME not in repr(read_headers([folder, text_file(folder)], LIMITS))
