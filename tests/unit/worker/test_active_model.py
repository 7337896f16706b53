"""A bundle is copied whole, also when all workers of a new installation copy it at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from worker.active_model import _copy_once

FILES = {f"file-{number}": bytes([number]) * 200_000 for number in range(20)}


def test_many_copies_at_once_make_one_whole_copy(tmp_path):
    source, target = tmp_path / "source", tmp_path / "models" / "resnet50-1.0.0"
    source.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    with ThreadPoolExecutor(8) as threads:
        for copied in [threads.submit(_copy_once, source, target) for _ in range(8)]:
            copied.result()
    assert {file.name: file.read_bytes() for file in target.iterdir()} == FILES
    assert [folder.name for folder in target.parent.iterdir()] == [target.name]


def test_a_copy_that_is_there_is_left_as_it_is(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "new").touch()
    _copy_once(source, target)
    assert list(target.iterdir()) == []
