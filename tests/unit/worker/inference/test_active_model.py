"""A bundle is copied whole, also when all workers of a new installation copy it at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.inference.active_model import _copy_once
from worker.model.bundle import default_bundle, is_whole
from worker.model.manifest import read_manifest


@pytest.fixture(scope="module")
def source():
    return default_bundle()


@pytest.fixture(scope="module")
def digest(source):
    return read_manifest(source).digest


def test_many_copies_at_once_make_one_whole_copy(source, digest, tmp_path):
    target = tmp_path / "models" / source.name
    with ThreadPoolExecutor(4) as threads:
        for copied in [threads.submit(_copy_once, source, target, digest) for _ in range(4)]:
            copied.result()
    assert is_whole(target, digest)
    assert [folder.name for folder in target.parent.iterdir()] == [target.name]


def test_a_copy_that_is_whole_is_left_as_it_is(source, digest, tmp_path):
    target = tmp_path / source.name
    _copy_once(source, target, digest)
    before = (target / "manifest.json").stat().st_ino
    _copy_once(source, target, digest)
    assert (target / "manifest.json").stat().st_ino == before


def test_a_damaged_copy_is_replaced(source, digest, tmp_path):
    target = tmp_path / source.name
    _copy_once(source, target, digest)
    with (target / "model.safetensors").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    assert not is_whole(target, digest)
    _copy_once(source, target, digest)
    assert is_whole(target, digest)
