"""Files of others are opened as regular files inside their folder, or refused by a code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders.hostile_paths import HOSTILE, fifo
from worker.errors import Rejected
from worker.storage import untrusted_files
from worker.storage.untrusted_files import FileStamp, IntakeLimits, UntrustedPath

LIMITS = IntakeLimits(file_bytes=1000, depth=3)
NAME = "DOE^JANE"


@pytest.fixture
def top(tmp_path):
    (tmp_path / NAME / "inner").mkdir(parents=True)
    return UntrustedPath(top=tmp_path / NAME)


def read(path, max_bytes=1000):
    with path.open(max_bytes=max_bytes) as opened:
        return b"".join(opened.chunks())


def test_a_regular_file_is_read_wherever_its_top_lies(top, tmp_path):
    (top.path / "inner" / "a").write_bytes(b"pixels")
    assert read(top / "inner" / "a") == b"pixels"
    (tmp_path / "link").symlink_to(top.path / "inner" / "a")
    assert read(UntrustedPath(top=tmp_path / "link")) == b"pixels", "an operator's own path"


@pytest.mark.parametrize(("build", "code"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_regular_file_is_refused_at_once(top, build, code):
    path = top / f"{NAME}.dcm"
    build(path.path)
    with pytest.raises(Rejected) as refusal:
        read(path)
    assert refusal.value.code == code
    assert NAME not in str(refusal.value)
    assert str(top.path) not in str(refusal.value)


@pytest.mark.parametrize("target", ["/dev/zero", "/etc"])
def test_an_operators_link_to_no_file_is_refused_too(tmp_path, target):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Rejected, match="NOT_A_REGULAR_FILE"):
        read(UntrustedPath(top=tmp_path / "link"))


def test_a_folder_above_the_file_may_be_no_link(top, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_bytes(b"secret")
    (top.path / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Rejected, match=r"LINK_REFUSED|FILE_UNREADABLE"):
        read(top / "linked" / "a")


@pytest.mark.parametrize("swap", ["link", "fifo"])
def test_what_is_put_in_a_files_place_after_it_was_looked_at_is_refused(top, monkeypatch, swap):
    path = top / "a"
    path.path.write_bytes(b"pixels")
    checked = untrusted_files._refuse_irregular
    calls = []

    def check_then_swap(mode):
        checked(mode)
        if not calls:
            path.path.unlink()
            fifo(path.path) if swap == "fifo" else path.path.symlink_to("/etc/passwd")
        calls.append(mode)

    monkeypatch.setattr(untrusted_files, "_refuse_irregular", check_then_swap)
    with pytest.raises(Rejected, match=r"NOT_A_REGULAR_FILE|LINK_REFUSED"):
        read(path)


def test_what_is_put_in_a_files_place_after_it_was_opened_changes_nothing(top):
    path = top / "a"
    path.path.write_bytes(b"pixels")
    with path.open(max_bytes=1000) as opened:
        path.path.unlink()
        path.path.symlink_to("/etc/passwd")
        assert b"".join(opened.chunks()) == b"pixels"


def test_a_file_that_grows_while_it_is_read_is_refused(top):
    path = top / "a"
    path.path.write_bytes(b"x" * 1000)
    with path.open(max_bytes=1000) as opened:
        with path.path.open("ab") as file:
            file.write(b"y")
        with pytest.raises(Rejected, match=r"FILE_TOO_LARGE: Found a file of 1001 bytes"):
            list(opened.chunks())


def test_folders_are_listed_by_name_and_links_to_folders_are_no_folders(top):
    for name in ("b", "inner/a"):
        (top.path / name).write_bytes(b"")
    (top.path / "linked").symlink_to("/etc")
    assert [path.names for path in top.files(LIMITS)] == [("b",), ("inner", "a"), ("linked",)]


def test_folders_without_end_are_refused(top):
    deep = top.path.joinpath(*"abcd")
    deep.mkdir(parents=True)
    with pytest.raises(Rejected, match="FOLDER_TOO_DEEP: Found folders nested deeper than 3"):
        top.files(LIMITS)


def test_files_without_number_are_refused(top):
    for number in range(5):
        (top.path / str(number)).touch()
    few = IntakeLimits(file_bytes=1, depth=3, entries=5)  # five files and a folder
    with pytest.raises(Rejected, match="TOO_MANY_FILES: Found more than 5 files and folders"):
        top.files(few)
    assert len(top.files(LIMITS)) == 5


def test_only_the_same_file_is_deleted(top):
    path = top / "a"
    path.path.write_bytes(b"1")
    stamp = FileStamp.of(path.status())
    path.path.write_bytes(b"22")
    assert not path.remove_if_unchanged(stamp)
    assert path.exists()
    assert path.remove_if_unchanged(FileStamp.of(path.status()))
    assert not path.exists()


def test_nothing_is_written_through_a_link(top, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    target = top / "reasons.json"
    target.path.symlink_to(outside)
    target.write_text("ours")
    assert (outside.read_text(), target.path.read_text()) == ("untouched", "ours")

    (top.path / "refused").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        (top / "refused" / "x").write_text("ours")


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(top):
    os.mkfifo(top.path / "fifo")
    (top.path / "file").write_bytes(b"x")
    before = open_descriptors()
    for name in ("fifo", "file", "nothing"):
        for _ in range(20):
            try:
                read(top / name)
            except Rejected:
                continue
    top.files(LIMITS)
    assert open_descriptors() == before
