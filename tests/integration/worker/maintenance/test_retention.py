"""Files leave by the rule, come back with a resend, and no row ever claims a file that is gone."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time

import pytest
from rich.console import Console

from db.studies.intake import receive_instance
from db.studies.retention import mark_removed
from db.vocabulary.enums import Priority, Source
from tests.builders.dicom import make_instance, make_study, write_instance
from tests.builders.waiting import wait_until
from worker.archive.retrieve.retriever import Retriever
from worker.errors import Resource
from worker.imaging.reading import read_header
from worker.intake.accept import accept_study
from worker.intake.received_study import received_study
from worker.maintenance import retention
from worker.maintenance.housekeeping import DiskMaintenance, Housekeeping
from worker.maintenance.orphans import ASIDE, DAY_S, sweep_alive_files, sweep_orphans
from worker.maintenance.retention import remove_expired_files
from worker.screens.tidy import show_tidying
from worker.storage.intake_folder import IntakeStorage

UID = "1.2.3.4"
OLD = time.time() - 2 * DAY_S


def accepted(site, files):
    return accept_study(files, database=site.database, site=site.settings)


def is_finished(site, *, since="2020-01-01 00:00:00"):
    """Every study of the site has had its result since then."""
    with site.database.transaction() as session:
        session.connection().exec_driver_sql(
            f"UPDATE study SET state = 'done', verdict = 'negative', finished_at = '{since}'"
        )


def leave(site, **changes):
    rules = site.settings.model_copy(update=changes)
    return remove_expired_files(rules, site.database, actor="test")


def mark_all(site):
    (study_id,) = site.rows("SELECT id FROM study")[0]
    with site.database.transaction() as session:
        return mark_removed(session, study_id, keep_days=30, actor="test")


def aged(site):
    """Every kept file is two days old."""
    for path in site.stored_files():
        os.utime(path, (OLD, OLD))


def swept(site, **how):
    done = [sweep_orphans(site.settings, site.database, f"{n:02x}", **how) for n in range(256)]
    return sum(one.files for one in done)


def claimed_but_gone(site):
    """Rows that count on a file which is not there whole; there must never be one."""
    rows = site.rows("SELECT file_name, file_sha256 FROM instance WHERE file_removed_at IS NULL")
    files = IntakeStorage(site.settings.intake_dir)
    return [
        name
        for name, sha256 in rows
        if not files.holds(name)
        or hashlib.sha256(files.path_of(name).read_bytes()).hexdigest() != sha256
    ]


def test_files_of_a_study_finished_long_ago_leave_and_others_stay(site, tmp_path):
    accepted(site, make_study(tmp_path / "old", n_instances=3))
    is_finished(site)
    accepted(site, make_study(tmp_path / "waiting", n_instances=2))
    left = leave(site)
    assert (left.studies, left.files) == (1, 3)
    assert len(site.stored_files()) == 2
    assert site.one("SELECT count(*) FROM instance WHERE file_removed_at IS NULL") == 2
    assert claimed_but_gone(site) == []
    assert leave(site).files == 0


def test_nought_days_mean_never(site, tmp_path):
    accepted(site, make_study(tmp_path / "old"))
    is_finished(site)
    assert leave(site, keep_files_days=0).files == 0
    assert len(site.stored_files()) == 3


def test_a_resend_brings_a_file_back_for_another_term(site, tmp_path):
    files = make_study(tmp_path / "old", n_instances=2)
    accepted(site, files)
    is_finished(site)
    leave(site)
    assert site.stored_files() == []
    accepted(site, files[:1])
    assert len(site.stored_files()) == 1
    assert leave(site).files == 0
    assert claimed_but_gone(site) == []
    assert site.one("SELECT state FROM study") == "done"


def test_a_death_between_row_and_file_is_swept_up_later(site, tmp_path):
    accepted(site, make_study(tmp_path / "old", n_instances=2))
    is_finished(site)
    mark_all(site)  # ... and the process dies
    assert len(site.stored_files()) == 2
    assert swept(site) == 0, "nothing is taken that is young"
    aged(site)
    assert swept(site, dry_run=True) == 2
    assert len(site.stored_files()) == 2
    assert swept(site) == 2
    assert site.stored_files() == []


def test_a_death_between_file_and_row_is_swept_up_and_what_rows_need_is_not(site, tmp_path):
    accepted(site, make_study(tmp_path / "needed", n_instances=2))
    IntakeStorage(site.settings.intake_dir).keep_bytes(b"the process died before its row")
    aged(site)
    assert swept(site) == 1
    assert len(site.stored_files()) == 2
    assert claimed_but_gone(site) == []


@pytest.mark.parametrize("needed", [True, False])
def test_a_sweeper_that_died_is_followed_by_one_that_judges_again(site, tmp_path, needed):
    """It had moved a file aside. If a sender brought it again meanwhile, it goes back."""
    accepted(site, write_instance(tmp_path / "a.dcm"))
    (path,) = site.stored_files()
    os.utime(path, (OLD, OLD))
    aside = site.settings.intake_dir / ASIDE / path.name
    aside.parent.mkdir()
    path.rename(aside)
    if not needed:
        is_finished(site)
        mark_all(site)
    sweep_orphans(site.settings, site.database, "00")
    assert site.stored_files() == ([path] if needed else [])


def test_a_young_file_that_was_moved_aside_goes_back(site):
    """A sender keeps it, the sweeper moves it, and only then comes the sender's row."""
    storage = IntakeStorage(site.settings.intake_dir)
    stored = storage.keep_bytes(b"kept a moment ago")
    aside = site.settings.intake_dir / ASIDE / f"{stored.sha256}.dcm"
    aside.parent.mkdir()
    storage.path_of(stored.name).rename(aside)
    sweep_orphans(site.settings, site.database, "00")
    assert storage.holds(stored.name)


def test_the_same_content_kept_again_is_young_again(site):
    """The sweeper relies on it: a file that lay there is replaced, not left as old as it was."""
    storage = IntakeStorage(site.settings.intake_dir)
    storage.keep_bytes(b"an orphan of long ago")
    aged(site)
    storage.keep_bytes(b"an orphan of long ago")
    assert swept(site) == 0


def test_a_resend_that_comes_before_the_removal_keeps_the_file(site, tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    accepted(site, path)
    is_finished(site)
    leaving = mark_all(site)
    accepted(site, path)
    retention._remove(leaving, IntakeStorage(site.settings.intake_dir), site.database)
    assert len(site.stored_files()) == 1
    assert claimed_but_gone(site) == []


def test_a_resend_whose_file_was_removed_before_its_row_does_not_claim_it(site, tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    accepted(site, path)
    is_finished(site)
    leaving = mark_all(site)
    storage = IntakeStorage(site.settings.intake_dir)
    stored = storage.keep_bytes(
        path.read_bytes()
    )  # the sender's bytes are here, its row is not yet
    retention._remove(leaving, storage, site.database)
    received = received_study(
        [(stored, read_header(path))],
        priority=Priority.ROUTINE,
        site_ae_title=None,
        source=Source.C_STORE,
    )
    with site.database.transaction() as session:
        answer = receive_instance(session, received, idle_window_s=1, is_here=storage.holds)
    assert answer.instances[0].outcome.value == "duplicate"
    assert site.stored_files() == []
    assert claimed_but_gone(site) == []


def test_senders_and_the_rule_at_once_never_lose_a_file_that_a_row_claims(site, tmp_path):
    """Both as fast as they can, on the same files."""
    files = make_study(tmp_path / "study", n_instances=2, rows=16, columns=16)
    accepted(site, files)
    is_finished(site)
    done = threading.Event()

    def resend():
        for _ in range(40):
            accepted(site, files)
        done.set()

    sender = threading.Thread(target=resend)
    sender.start()
    left = 0
    while not done.is_set():
        left += leave(site, keep_files_days=1e-9).files
    sender.join()
    assert left > 2, "they were to meet"
    assert claimed_but_gone(site) == []
    assert site.one("SELECT count(*) FROM instance") == 2


def test_an_instance_that_comes_by_c_store_again_is_kept_again(site):
    site.listen()
    dataset = make_instance(study_instance_uid=UID)
    assert site.send(dataset)[0].Status == 0x0000
    is_finished(site)
    leave(site)
    assert site.stored_files() == []
    assert site.send(dataset)[0].Status == 0x0000
    assert len(site.stored_files()) == 1
    assert site.one("SELECT file_removed_at FROM instance") is None


# -- who does it --------------------------------------------------------------------------------


def test_the_relay_tidies_in_its_time(site, tmp_path):
    accepted(site, make_study(tmp_path / "old"))
    is_finished(site)
    keeping = Housekeeping(site.settings, site.database)
    keeping.run_once()
    assert site.stored_files() == []
    accepted(site, make_study(tmp_path / "again"))
    is_finished(site)
    keeping.run_once()
    assert len(site.stored_files()) == 3, "a minute has not passed"


def node_of(site, folder):
    """A worker on a machine with a disk of its own, and the care that it takes of it."""
    settings = site.settings.model_copy(update={"state_dir": folder})
    storage = IntakeStorage(settings.intake_dir)
    retriever = Retriever(settings, site.database, storage)
    return settings, DiskMaintenance(settings, site.database, retriever.disk, interval_s=0.001)


def test_files_that_a_worker_fetched_leave_its_own_disk(site, tmp_path):
    settings, keeper = node_of(site, tmp_path / "node")
    try:
        stays, leaves = make_study(tmp_path / "a", 1), make_study(tmp_path / "b", 1)
        for files in (leaves, stays):
            accept_study(files, database=site.database, site=settings)
            if files is leaves:
                is_finished(site)
        lying = sorted(settings.intake_dir.rglob("*.dcm"))
        for path in lying:
            os.utime(path, (OLD, OLD))
        assert leave(site).files == 1, "the row says so, though the relay has no such file"
        gone = site.one("SELECT file_name FROM instance WHERE file_removed_at IS NOT NULL")
        wait_until(lambda: not (settings.intake_dir / str(gone)).exists())
    finally:
        keeper.close()
    left = sorted(settings.intake_dir.rglob("*.dcm"))
    assert len(lying) == 2
    assert left == [settings.intake_dir / str(needed(site))]


def needed(site):
    return site.one("SELECT file_name FROM instance WHERE file_removed_at IS NULL")


def test_a_disk_in_common_is_swept_by_all(site, tmp_path):
    keepers = [node_of(site, site.settings.state_dir)[1] for _ in range(3)]
    try:
        accepted(site, make_study(tmp_path / "a", 2))
        orphan = IntakeStorage(site.settings.intake_dir).keep_bytes(b"an orphan")
        aged(site)
        wait_until(lambda: not (site.settings.intake_dir / orphan.name).exists())
    finally:
        for keeper in keepers:
            keeper.close()
    assert len(site.stored_files()) == 2


def test_signs_of_life_of_the_dead_are_swept(site):
    folder = site.settings.alive_dir
    folder.mkdir(parents=True)
    for name in ("w-1.alive", "w-2.alive", "relay.alive"):
        (folder / name).touch()
    os.utime(folder / "w-1.alive", (OLD, OLD))
    assert sweep_alive_files(site.settings) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["relay.alive", "w-2.alive"]


def tidied(site, *, dry_run):
    console = Console(width=100, file=io.StringIO(), record=True)
    assert show_tidying(site.settings, dry_run=dry_run, console=console) == 0
    return console.export_text()


def test_the_command_prints_what_would_be_removed_and_then_what_was(site, tmp_path):
    accepted(site, make_study(tmp_path / "old"))
    is_finished(site)
    site.settings.intake_dir.joinpath("ab").mkdir(exist_ok=True)
    orphan = site.settings.intake_dir / "ab" / ("ab" * 32 + ".dcm")
    orphan.write_bytes(b"x")
    os.utime(orphan, (OLD, OLD))

    said = tidied(site, dry_run=True)
    assert "Would be removed" in said
    assert len(site.stored_files()) == 4
    said = tidied(site, dry_run=False)
    for words in (
        "files of 1 study, finished at least 30 days ago",
        "files that no row needs",
        "are free",
    ):
        assert words in said
    assert site.stored_files() == []
    assert str(tmp_path) not in said


def test_a_folder_that_cannot_be_written_is_told_in_words(site, tmp_path):
    IntakeStorage(site.settings.intake_dir).keep_bytes(b"an orphan")
    aged(site)
    (site.settings.intake_dir / ASIDE).write_text("a file where the folder should be")
    with pytest.raises(Resource, match=r"INTAKE_NOT_TIDIED: .* Check that it is mounted") as told:
        tidied(site, dry_run=False)
    assert str(tmp_path) not in str(told.value)
