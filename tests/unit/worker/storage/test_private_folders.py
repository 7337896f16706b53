"""State folder, database, logs and intake are closed to other users, also where they were open before."""

from __future__ import annotations

import stat

import pytest

from worker.settings import read_settings
from worker.storage.private_folders import keep_private


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_site(tmp_path):
    """An installation in which everybody may read everything."""

    def make(**values):
        settings = read_settings(state_dir=tmp_path / "state", **values)
        for folder in (settings.handed_over_dir, settings.log_dir, settings.alive_dir):
            folder.mkdir(parents=True)
        for name in ("pneumo.sqlite", "pneumo.sqlite-wal", "logs/worker.log", "logs/worker.log.1"):
            (settings.state_dir / name).write_text("x")
        for path in (settings.state_dir, *settings.state_dir.rglob("*")):
            path.chmod(0o775 if path.is_dir() else 0o664)
        return settings

    return make


def test_all_of_it_is_closed(open_site):
    settings = open_site()
    keep_private(settings)
    closed = [settings.state_dir, settings.intake_dir, settings.handed_over_dir]
    assert {mode(p) for p in [*closed, settings.log_dir, settings.alive_dir]} == {0o700}
    files = ["pneumo.sqlite", "pneumo.sqlite-wal", "logs/worker.log", "logs/worker.log.1"]
    assert {mode(settings.state_dir / name) for name in files} == {0o600}


def test_what_is_made_later_is_closed(open_site):
    settings = open_site()
    keep_private(settings)
    (settings.state_dir / "later").mkdir()
    (settings.state_dir / "later" / "file").write_text("x")
    assert mode(settings.state_dir / "later") == 0o700
    assert mode(settings.state_dir / "later" / "file") == 0o600


def test_a_group_may_share_the_intake_and_nothing_else(open_site):
    settings = open_site(group_access=True)
    settings.handed_over_dir.chmod(0o2777)
    keep_private(settings)
    assert mode(settings.handed_over_dir) == 0o2770
    assert mode(settings.intake_dir) == mode(settings.state_dir) == 0o770
    assert mode(settings.log_dir) == mode(settings.alive_dir) == 0o700
    assert mode(settings.state_dir / "pneumo.sqlite") == 0o600


def test_permissions_are_never_added(open_site):
    settings = open_site()
    settings.state_dir.chmod(0o500)
    keep_private(settings)
    assert mode(settings.state_dir) == 0o500


def test_what_is_not_there_is_no_error(tmp_path):
    keep_private(read_settings(state_dir=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
