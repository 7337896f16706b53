"""A name in the intake folder stands for a complete file, whatever happens to its writer."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import Resource
from worker.storage.intake_folder import IntakeStorage
from worker.storage.untrusted_files import CHUNK, UntrustedPath

ROOT = Path(__file__).resolve().parents[4]
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing, as everybody knows it."""


@pytest.fixture
def storage(tmp_path):
    return IntakeStorage(tmp_path / "intake")


def kept_files(storage):
    """Everything under the intake folder, by its name there."""
    folder = storage.folder
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@contextmanager
def no_file_larger_than(size):
    """A real limit of the system: a write stops half way, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_parts_become_one_file_named_by_its_content(parts):
    with TemporaryDirectory() as folder:
        storage = IntakeStorage(Path(folder))
        whole = b"".join(parts)

        stored = storage.keep_bytes(*parts)

        assert storage.path_of(stored.name).read_bytes() == whole
        assert stored.sha256 == hashlib.sha256(whole).hexdigest()
        assert stored.name == f"{stored.sha256[:2]}/{stored.sha256}.dcm"
        assert stored.size == len(whole)
        assert storage.keep_bytes(whole) == stored
        assert kept_files(storage) == [stored.name]


def test_nothing_at_all_is_a_file_too(storage):
    assert storage.keep_bytes().sha256 == EMPTY


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_a_file_and_its_bytes_are_kept_alike(storage, tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    source = tmp_path / "DOE^JANE.dcm"
    source.write_bytes(content)

    with UntrustedPath(top=source).open(max_bytes=size) as opened:
        stored = storage.keep_bytes(*opened.chunks())

    assert stored == storage.keep_bytes(memoryview(content))
    assert storage.path_of(stored.name).read_bytes() == content
    assert source.read_bytes() == content


def test_the_same_content_at_once_is_kept_once(storage):
    content = os.urandom(200_000)
    with ThreadPoolExecutor(8) as pool:
        stored = set(pool.map(lambda _: storage.keep_bytes(content), range(40)))
    assert len(stored) == 1
    assert kept_files(storage) == [stored.pop().name]


def test_no_reader_ever_sees_half_a_file(storage):
    contents = [bytes([n]) * 300_000 for n in range(40)]
    done, broken = threading.Event(), []

    def look():
        while not done.is_set():
            broken.extend(
                path.stem
                for path in storage.folder.glob("??/*.dcm")
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem
            )

    reader = threading.Thread(target=look)
    reader.start()
    for content in contents:
        storage.keep_bytes(content)
    done.set()
    reader.join()

    assert not broken
    assert len(kept_files(storage)) == len(contents)


def test_a_writer_killed_in_mid_write_leaves_no_name(storage):
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, str(storage.folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout.readline() == b"half way\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (left,) = kept_files(storage)
    assert left.startswith("incoming/")

    assert storage.sweep_part_files(older_than_s=3600) == 0, "it may be somebody's who still writes"
    assert storage.sweep_part_files(older_than_s=-1) == 1
    assert kept_files(storage) == []


ENDLESS_WRITER = """
import sys, time
from pathlib import Path
from worker.storage.intake_folder import IntakeStorage

part = IntakeStorage(Path(sys.argv[1])).begin()
part.write(b"x" * 100_000)
print("half way", flush=True)
time.sleep(60)
"""


def test_a_full_disk_is_told_and_leaves_nothing(storage):
    storage.keep_bytes(b"before")
    before = kept_files(storage)
    with (
        no_file_larger_than(10_000),
        pytest.raises(Resource, match=r"DISK_FULL: There is no space left .* Make room"),
    ):
        storage.keep_bytes(b"x" * 10_001)
    assert kept_files(storage) == before


def test_a_file_just_within_the_limit_is_kept_whole(storage):
    with no_file_larger_than(10_000):
        stored = storage.keep_bytes(b"x" * 6_000, b"y" * 4_000)
    assert storage.path_of(stored.name).read_bytes() == b"x" * 6_000 + b"y" * 4_000


def test_a_folder_that_cannot_be_written_is_told_without_its_path(tmp_path):
    (tmp_path / "DOE").write_text("a file where the folder should be")
    storage = IntakeStorage(tmp_path / "DOE" / "intake")
    with pytest.raises(Resource, match=r"DISK_ERROR: .*\(PNEUMO_STATE_DIR\)") as told:
        storage.keep_bytes(b"x")
    assert "DOE" not in str(told.value)


def test_forgetting_twice_is_as_good_as_once(storage):
    stored = storage.keep_bytes(b"x")
    storage.discard(stored.name)
    storage.discard(stored.name)
    assert kept_files(storage) == []
