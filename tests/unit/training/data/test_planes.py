"""The cache: decoded once, complete or absent, and right about what could not be decoded."""

from __future__ import annotations

import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.builders.data_sets import (
    draw_class_folders,
    draw_picture,
    write_dicom_set,
)
from training.data.decoding import decode_plane
from training.data.planes import load_pool, require_space
from training.data.quality import quality_issues
from training.data.reading import read_pool
from worker.errors import Rejected, Resource
from worker.imaging.preprocessing import PreprocessingSpec

SPEC = PreprocessingSpec(size=32)
NAMES = [f"train/NORMAL/IM-{n:04d}-0001.png" for n in range(5)]
NAMES += [f"train/PNEUMONIA/person{n:02d}_virus_1.jpeg" for n in range(70)]


@pytest.fixture
def root(tmp_path):
    return draw_class_folders(tmp_path / "set", *NAMES)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def cut_short(path: Path) -> None:
    """Leave the header whole: only decoding can tell."""
    path.write_bytes(path.read_bytes()[:-300])


def test_planes_are_those_of_the_files_in_their_order(root, cache):
    pool, planes = load_pool(read_pool(root), SPEC, cache)
    assert (planes.dtype, planes.shape) == (np.uint8, (75, 32, 32))
    assert isinstance(planes, np.memmap)
    for row, radiograph in enumerate(pool.radiographs):
        expected = decode_plane(root / radiograph.path, radiograph.encoding, SPEC)
        assert np.array_equal(planes[row], expected)


def test_dicom_planes_are_cached_alike(tmp_path, cache):
    root = write_dicom_set(tmp_path / "set", [0, 1, 1])
    pool, planes = load_pool(read_pool(root), SPEC, cache)
    assert planes.shape == (3, 32, 32)
    expected = decode_plane(root / "name2.dcm", pool.radiographs[2].encoding, SPEC)
    assert np.array_equal(planes[2], expected)


def test_nothing_is_decoded_twice(root, cache):
    told: list[tuple[int, int]] = []
    for _ in range(2):
        load_pool(
            read_pool(root), SPEC, cache, on_progress=lambda done, total: told.append((done, total))
        )
    assert told == [(done, 75) for done in range(1, 76)]


@pytest.mark.parametrize("what", ["spec", "bytes"])
def test_another_recipe_or_other_bytes_make_another_cache(root, cache, what):
    load_pool(read_pool(root), SPEC, cache)
    if what == "bytes":
        draw_picture(root / NAMES[0], seed=99)
    spec = PreprocessingSpec(size=48) if what == "spec" else SPEC
    pool, planes = load_pool(read_pool(root), spec, cache)
    assert len({*cache.glob("planes-*.npy")}) == 2
    expected = decode_plane(root / NAMES[0], pool.radiographs[0].encoding, spec)
    assert np.array_equal(planes[0], expected)


def test_what_cannot_be_decoded_is_left_out_and_remembered(root, cache):
    broken = [NAMES[2], NAMES[70]]
    for name in broken:
        cut_short(root / name)
    told: list[int] = []
    for _ in range(2):
        whole = read_pool(root)
        assert len(whole.radiographs) == 75
        pool, planes = load_pool(whole, SPEC, cache, on_progress=lambda done, _: told.append(done))
        assert [r.path.as_posix() for r in pool.radiographs] == [
            n for n in NAMES if n not in broken
        ]
        assert [skipped.shown_as for skipped in pool.skipped] == broken
        assert len(planes) == 73
        last = pool.radiographs[-1]
        assert np.array_equal(planes[-1], decode_plane(root / last.path, last.encoding, SPEC))
    assert len(told) == 75  # the second time it was known
    sentence = quality_issues(pool)[0].sentence
    assert sentence.startswith(
        f"2 files were left out: 2 IMAGE_UNREADABLE. The first is {broken[0]}"
    )


def test_a_repaired_file_is_decoded_again(root, cache):
    whole = (root / NAMES[2]).read_bytes()
    cut_short(root / NAMES[2])
    assert len(load_pool(read_pool(root), SPEC, cache)[1]) == 74
    (root / NAMES[2]).write_bytes(whole)
    assert len(load_pool(read_pool(root), SPEC, cache)[1]) == 75


@pytest.mark.parametrize("seen_before", [False, True])
def test_what_cannot_be_decoded_is_fatal_where_wished(root, cache, seen_before):
    cut_short(root / NAMES[7])
    if seen_before:
        load_pool(read_pool(root), SPEC, cache)
    with pytest.raises(Rejected, match=f"IMAGE_UNREADABLE: {NAMES[7]}: It is no JPEG or PNG"):
        load_pool(read_pool(root), SPEC, cache, strict=True)
    assert not (cache / "planes.part").exists()


def test_a_dicom_file_that_cannot_be_decoded_is_named_by_its_line(tmp_path, cache):
    root = write_dicom_set(tmp_path / "set", [0, 1, 1])
    cut_short(root / "name1.dcm")
    pool, planes = load_pool(read_pool(root), SPEC, cache)
    assert len(planes) == len(pool.radiographs) == 2
    assert [skipped.shown_as for skipped in pool.skipped] == ["line 3 of labels.csv"]


def test_a_class_of_which_nothing_can_be_decoded_is_told(root, cache):
    for name in NAMES[:5]:
        cut_short(root / name)
    for _ in range(2):
        with pytest.raises(Rejected, match=f"class NORMAL; .* 5 files were left out; {NAMES[0]}: "):
            load_pool(read_pool(root), SPEC, cache)


class PulledPlug(BaseException):
    """The end of the process, as far as a test can make it."""


def test_what_was_interrupted_leaves_nothing_half_written(root, cache):
    def stop(done: int, _total: int) -> None:
        if done == 40:
            raise PulledPlug

    with pytest.raises(PulledPlug):
        load_pool(read_pool(root), SPEC, cache, on_progress=stop)
    assert {path.name for path in cache.iterdir()} == {"decoding.lock"}
    assert len(load_pool(read_pool(root), SPEC, cache)[1]) == 75


def test_what_a_killed_process_left_is_written_over(root, cache):
    cache.mkdir()
    (cache / "planes.part").write_bytes(b"half" * 100_000)
    assert len(load_pool(read_pool(root), SPEC, cache)[1]) == 75


def test_a_disk_that_fills_up_is_told_and_nothing_stays(root, cache):
    pool = read_pool(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as a full disk, for real
    try:
        with pytest.raises(
            Resource, match="could not be written into the folder cache: "
        ) as caught:
            load_pool(pool, SPEC, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "NO_SPACE_LEFT"
    assert "Free some space" in caught.value.sentence
    assert {path.name for path in cache.iterdir()} == {"decoding.lock"}


def test_too_little_space_is_told_before_anything_is_decoded(tmp_path):
    with pytest.raises(
        Resource, match=r"NO_SPACE_LEFT: .* need 1,000,000,000,000\.0 MB in the fol"
    ):
        require_space(tmp_path, 10**18)
    require_space(tmp_path, 1)


def test_a_cache_that_cannot_be_written_is_told(root, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Resource, match=r"CACHE_NOT_WRITTEN: .* check the folder's rights"):
        load_pool(read_pool(root), SPEC, tmp_path / "file" / "cache")


def test_who_begins_at_the_same_time_waits_and_finds_it_done(root, cache):
    """A file lock of its own for each opening: what holds between threads holds for processes."""
    told: list[int] = []
    begin = threading.Barrier(2)

    def load(_: int) -> int:
        pool = read_pool(root)
        begin.wait()
        return len(load_pool(pool, SPEC, cache, on_progress=lambda done, _: told.append(done))[1])

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(load, range(2))) == [75, 75]
    assert told == list(range(1, 76))
