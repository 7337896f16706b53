"""A watched folder: what is complete is taken over once and leaves; nothing is lost on the way."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from dataclasses import replace

import pytest
from pydicom import dcmread
from rich.console import Console
from sqlalchemy.exc import OperationalError

from db.engine.session import Database
from tests.builders.dicom import make_study, write_instance
from tests.builders.hostile_paths import HOSTILE
from tests.builders.waiting import scaled, wait_until
from worker.errors import Rejected, Resource, Transient
from worker.intake import watch_loop, watched_folder
from worker.intake.watch_loop import WatchCondition, run
from worker.intake.watched_folder import WatchedFolder, WatchPass, count_refused_files
from worker.screens.health import check
from worker.screens.status import show_status
from worker.storage.untrusted_files import UntrustedPath

STUDY, NAME = "1.2.3.10", "DOE^JANE"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


@pytest.fixture
def watcher(site, folder):
    """Without a wait for files to settle; tests that are about it set it."""
    settings = site.settings.model_copy(update={"watch_settle_s": 0.0, "watch_folder": folder})
    return WatchedFolder(folder=folder, settings=settings, database=site.database)


def lying(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_files_are_taken_over_and_leave(site, folder, watcher):
    make_study(folder / NAME / "inner", n_instances=3, study_instance_uid=STUDY)

    assert watcher.run_once() == WatchPass(taken_over=3)

    assert lying(folder) == []
    assert site.rows("SELECT source, priority, state FROM study") == [
        ("folder", "routine", "receiving")
    ]
    assert site.one("SELECT count(*) FROM instance") == 3
    assert watcher.run_once() == WatchPass()


def test_what_lies_under_stat_goes_first(site, folder, watcher):
    make_study(folder / "a", n_instances=1, study_instance_uid=STUDY)
    make_study(folder / "stat" / "b", n_instances=1, study_instance_uid="1.2.3.20")

    watcher.run_once()

    assert site.rows("SELECT study_instance_uid, priority FROM study ORDER BY id") == [
        ("1.2.3.20", "stat"), (STUDY, "routine"),
    ]  # fmt: skip


def test_a_file_that_still_grows_is_left_alone(site, folder, watcher):
    watcher.settings = watcher.settings.model_copy(update={"watch_settle_s": 0.3})
    whole = write_instance(folder.parent / "whole.dcm").read_bytes()
    path = folder / "grows.dcm"
    for length in (100, 1000, 10_000, len(whole)):
        path.write_bytes(whole[:length])
        assert watcher.run_once() == WatchPass()

    wait_until(lambda: watcher.run_once() == WatchPass(taken_over=1))

    name = site.one("SELECT file_name FROM instance")
    assert (site.settings.intake_dir / name).read_bytes() == whole


@pytest.mark.parametrize("name", [".hidden.dcm", "a.dcm.part", "a.tmp"])
def test_names_for_unfinished_files_are_left_alone(folder, watcher, name):
    write_instance(folder / name)
    assert watcher.run_once() == WatchPass()
    assert lying(folder) == [name]


def test_a_link_out_of_the_folder_is_not_followed(folder, watcher, tmp_path):
    elsewhere = write_instance(tmp_path / "elsewhere.dcm")
    (folder / "link.dcm").symlink_to(elsewhere)
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    assert watcher.run_once() == WatchPass(refused=2)
    assert elsewhere.exists()
    reasons = [json.loads(path.read_text())["code"] for path in folder.rglob("*.reason.json")]
    assert reasons == ["LINK_REFUSED"] * 2
    assert count_refused_files(folder) == 2
    assert watcher.run_once() == WatchPass()


def test_what_is_no_dicom_goes_aside_with_its_reason(site, folder, watcher):
    (folder / "inner").mkdir()
    (folder / "inner" / "letter.txt").write_text("Dear colleague")

    assert watcher.run_once() == WatchPass(refused=1)

    assert lying(folder) == ["refused/inner/letter.txt", "refused/inner/letter.txt.reason.json"]
    reason = json.loads((folder / "refused/inner/letter.txt.reason.json").read_text())
    assert reason["code"] == "NOT_DICOM"
    assert "DICOM" in reason["sentence"]
    assert watcher.run_once() == WatchPass()
    assert count_refused_files(folder) == 1
    screen = io.StringIO()
    show_status(watcher.settings, Console(file=screen, width=200))
    assert "Refused: 1 file of the watched folder." in screen.getvalue()


def test_a_file_put_back_is_tried_again(site, folder, watcher):
    whole = write_instance(folder.parent / "whole.dcm").read_bytes()
    (folder / "a.dcm").write_bytes(b"cut short")
    watcher.run_once()
    (folder / "refused" / "a.dcm").unlink()
    (folder / "a.dcm").write_bytes(whole)
    assert watcher.run_once() == WatchPass(taken_over=1)


def test_a_database_that_is_away_costs_nothing(site, folder, watcher, monkeypatch):
    monkeypatch.setattr(watched_folder, "DATABASE_TIMEOUT_S", 0.1)
    make_study(folder, n_instances=2)
    away = Database(f"sqlite:///{folder.parent / 'no' / 'such' / 'folder.sqlite'}")
    watcher.database = away
    with pytest.raises(Transient, match="DATABASE_AWAY"):
        watcher.run_once()
    assert len(lying(folder)) == 2

    watcher.database = site.database
    assert watcher.run_once() == WatchPass(taken_over=2)


def test_a_folder_that_is_away_is_told_until_it_is_back(site, folder, watcher):
    notice = WatchCondition(site.database)
    folder.rename(folder.parent / "unmounted")
    with pytest.raises(Resource, match=r"WATCH_FOLDER_AWAY: .*mounted") as told:
        watcher.run_once()
    for _ in range(3):
        notice.update((told.value.code, told.value.sentence))
    screen = io.StringIO()
    show_status(site.settings, Console(file=screen, width=200))
    assert "watched folder: WATCH_FOLDER_AWAY." in screen.getvalue()
    assert site.one("SELECT times FROM site_condition") == 1, "it is not written each second"

    notice.update(None)
    assert site.one("SELECT ended_at FROM site_condition") is not None


def test_a_file_that_cannot_be_removed_is_taken_over_once(site, folder, watcher, monkeypatch):
    def refuse(*_):
        raise PermissionError

    write_instance(folder / "a.dcm")
    with monkeypatch.context() as patched:
        patched.setattr(
            UntrustedPath, "remove_if_unchanged", refuse
        )  # root may remove what nobody may
        assert watcher.run_once() == WatchPass(taken_over=1, cannot_leave=1)
        assert watcher.run_once() == WatchPass(cannot_leave=1)
    assert site.one("SELECT count(*) FROM instance") == 1
    (folder / "a.dcm").unlink()
    assert watcher.run_once() == WatchPass()


def test_a_file_written_anew_while_it_was_taken_is_taken_again(site, folder, watcher, monkeypatch):
    write_instance(folder / "a.dcm", study_instance_uid=STUDY)
    accept = watched_folder.accept_instance

    def accept_and_write(*arguments, **keywords):
        answer = accept(*arguments, **keywords)
        write_instance(folder / "a.dcm", study_instance_uid="1.2.3.20")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(watched_folder, "accept_instance", accept_and_write)
        watcher.run_once()
    assert lying(folder) == ["a.dcm"]
    watcher.run_once()
    assert site.one("SELECT count(*) FROM study") == 2


def test_empty_folders_go_after_a_while(folder, watcher):
    make_study(folder / "a" / "b", n_instances=1)
    (folder / "stat").mkdir()
    watcher.run_once()
    assert (folder / "a" / "b").is_dir()
    long_ago = time.time() - 2 * watched_folder.EMPTY_FOLDER_S
    for inner in (folder / "a" / "b", folder / "a", folder / "stat"):
        os.utime(inner, (long_ago, long_ago))
    watcher.run_once()
    os.utime(folder / "a", (long_ago, long_ago)) if (folder / "a").exists() else None
    watcher.run_once()
    assert [p.name for p in folder.iterdir()] == ["stat"]


def test_a_killed_watcher_loses_nothing_and_takes_nothing_twice(site, folder, tmp_path):
    site.settings = site.settings.model_copy(update={"watch_settle_s": 0.1, "watch_folder": folder})
    make_study(folder, n_instances=12, study_instance_uid=STUDY)
    log = tmp_path / "log"
    first = site.start("worker.cli", "watch", log=log)
    wait_until(lambda: site.one("SELECT count(*) FROM instance") >= 2)
    first.send_signal(signal.SIGKILL)
    first.wait()

    second = site.start("worker.cli", "watch", log=log)
    wait_until(lambda: lying(folder) == [])
    assert check("watch", site.settings).healthy
    second.terminate()
    assert second.wait(timeout=scaled(10)) == 0

    assert site.one("SELECT count(*) FROM instance") == 12
    assert site.one("SELECT revision FROM study") == 1
    kept = {dcmread(path).SOPInstanceUID for path in site.stored_files()}
    assert len(kept) == 12
    assert STUDY not in log.read_text()
    assert str(folder) not in log.read_text()


def test_without_a_folder_there_is_nothing_to_watch(site):
    with pytest.raises(Rejected, match=r"WATCH_FOLDER_UNSET: .*PNEUMO_WATCH_FOLDER"):
        run(site.settings)


def test_a_file_that_fails_for_no_reason_with_a_name_keeps_nobody_else(
    site, folder, watcher, monkeypatch
):
    for name, uid in (("a.dcm", STUDY), ("b.dcm", "1.2.3.20")):
        write_instance(folder / name, study_instance_uid=uid)
    accept = watched_folder.accept_instance

    def accept_one_alone(stored, header, **keywords):
        if header.study_instance_uid == STUDY:
            raise ValueError("of a constraint, with a path in it")
        return accept(stored, header, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(watched_folder, "accept_instance", accept_one_alone)
        assert watcher.run_once() == WatchPass(taken_over=1, failed=1)
        assert watcher.run_once() == WatchPass(failed=1), "not each second"
        code, sentence = watch_loop._run_once(watcher)
    assert (code, lying(folder)) == ("WATCH_FILE_FAILED", ["a.dcm"])
    assert "path" not in sentence

    watcher._failed = {path: replace(it, at=-1e9) for path, it in watcher._failed.items()}
    assert watcher.run_once() == WatchPass(taken_over=1)
    assert lying(folder) == []


def test_a_database_that_breaks_off_in_mid_turn_is_no_file_s_fault(folder, watcher, monkeypatch):
    def broken_off(*_):
        raise OperationalError("SELECT", {}, Exception("server closed the connection"), None, True)

    write_instance(folder / "a.dcm")
    monkeypatch.setattr(watched_folder, "is_own_result", broken_off)
    with pytest.raises(OperationalError):
        watcher.run_once()
    assert watcher._failed == {}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("build", "code"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_regular_file_is_refused_and_holds_up_nobody(site, folder, watcher, build, code):
    (folder / "inner").mkdir()
    build(folder / "inner" / "a.dcm")
    write_instance(folder / "inner" / "b.dcm")
    assert watcher.run_once() == WatchPass(taken_over=1, refused=1)
    reason = json.loads((folder / "refused" / "inner" / "a.dcm.reason.json").read_text())
    assert reason["code"] == code
    assert count_refused_files(folder) == 1
    assert watcher.run_once() == WatchPass()


def test_folders_that_are_nested_too_deeply_are_refused_alone(site, folder, watcher):
    watcher.settings = watcher.settings.model_copy(update={"max_folder_depth": 3})
    write_instance(folder / "a" / "b" / "c" / "good.dcm")
    write_instance(folder / "a" / "b" / "c" / "d" / "deep.dcm")
    assert watcher.run_once() == WatchPass(taken_over=1)
    aside = folder / "refused" / "a" / "b" / "c"
    assert json.loads((aside / "d.reason.json").read_text())["code"] == "FOLDER_TOO_DEEP"
    assert (aside / "d" / "deep.dcm").exists()


def test_a_refused_folder_that_is_a_link_is_not_written_through(folder, watcher, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "refused").symlink_to(tmp_path / "elsewhere")
    (folder / "letter.txt").write_text("Dear colleague")
    watcher.run_once()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_that_fails_for_ever_is_refused_at_last(site, folder, watcher, monkeypatch):
    write_instance(folder / "a.dcm")
    monkeypatch.setattr(watched_folder, "RETRY_FAILED_S", 0.0)
    monkeypatch.setattr(watched_folder, "accept_instance", lambda *_a, **_k: 1 / 0)
    for _ in range(watched_folder.FAILURES_UNTIL_REFUSED - 1):
        assert watcher.run_once() == WatchPass(failed=1)
    assert watcher.run_once() == WatchPass(refused=1)
    reason = json.loads((folder / "refused" / "a.dcm.reason.json").read_text())
    assert reason["code"] == "WATCH_FILE_FAILED"
    assert watcher.run_once() == WatchPass()
