"""A log that grew too long is put aside under its writer's hands."""

from __future__ import annotations

import os

from worker.local.log_files import truncate_long_logs


def test_a_long_log_is_put_aside_and_its_writer_goes_on(tmp_path):
    (tmp_path / "short.log").write_text("short\n")
    with (tmp_path / "long.log").open("ab") as writer:
        os.write(writer.fileno(), b"before\n" * 100)
        truncate_long_logs(tmp_path, limit=100)
        os.write(writer.fileno(), b"after\n")
    assert (tmp_path / "long.log").read_bytes() == b"after\n"
    assert (tmp_path / "long.log.1").read_bytes() == b"before\n" * 100
    assert (tmp_path / "short.log").read_text() == "short\n"
    assert not (tmp_path / "short.log.1").exists()


def test_only_the_last_one_is_kept_aside(tmp_path):
    for content in ("first" * 50, "second" * 50):
        (tmp_path / "long.log").write_text(content)
        truncate_long_logs(tmp_path, limit=100)
    assert (tmp_path / "long.log.1").read_text() == "second" * 50
    assert len(list(tmp_path.iterdir())) == 2


def test_without_room_for_a_copy_the_log_is_emptied_all_the_same(tmp_path):
    (tmp_path / "long.log").write_text("x" * 200)
    (tmp_path / "long.log.1").mkdir()
    truncate_long_logs(tmp_path, limit=100)
    assert (tmp_path / "long.log").read_text() == ""


def test_a_folder_that_is_not_there_yet_has_no_logs(tmp_path):
    truncate_long_logs(tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []
