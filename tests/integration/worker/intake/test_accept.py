"""A study given in Python or by files: whole, once, and the caller told what became of it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from db.engine.session import Database
from db.vocabulary.enums import InstanceReceipt, Priority, Source, StudyState, Verdict
from tests.builders.database import claim_one, rejected_outcome, store
from tests.builders.dicom import make_study, write_instance
from tests.builders.hostile_paths import HOSTILE
from tests.builders.waiting import scaled
from worker.errors import Rejected, Transient
from worker.intake import accept
from worker.intake.accept import accept_study, enqueue_paths, wait_for_studies

STUDY, OTHER_STUDY, SOP = "1.2.3.10", "1.2.3.20", "1.2.3.30"


def outcomes(acceptance):
    return [instance.outcome for instance in acceptance.instances]


def test_a_study_is_taken_over_whole(site, tmp_path):
    paths = make_study(tmp_path / "in", n_instances=3, study_instance_uid=STUDY, patient_id="P-7")

    accepted = accept_study(
        paths,
        priority=Priority.STAT,
        site_ae_title="BRIDGE",
        database=site.database,
        site=site.settings,
    )

    assert accepted.is_new
    assert accepted.state is StudyState.ACCEPTED
    assert outcomes(accepted) == [InstanceReceipt.NEW] * 3
    assert site.rows(
        "SELECT study_key, study_instance_uid, source, priority, lane, site_ae_title FROM study"
    ) == [(accepted.study_key, STUDY, "python", "stat", "stat", "BRIDGE")]
    assert site.one("SELECT patient_id FROM study_identity") == "P-7"
    kept = {path.read_bytes() for path in site.stored_files()}
    assert kept == {path.read_bytes() for path in paths}


def test_the_caller_may_delete_the_files(site, tmp_path):
    (path,) = make_study(tmp_path / "in", n_instances=1)
    content = path.read_bytes()
    accepted = accept_study(path, database=site.database, site=site.settings)
    path.unlink()
    stored = site.settings.intake_dir / accepted.instances[0].file_name
    assert stored.read_bytes() == content


def test_without_a_database_the_sites_own_is_used(site, tmp_path):
    make_study(tmp_path / "in", n_instances=2)
    accept_study(tmp_path / "in", site=site.settings)
    assert site.one("SELECT count(*) FROM instance") == 2


def test_a_folder_tells_what_it_left_out(site, tmp_path):
    make_study(tmp_path / "in", n_instances=2)
    (tmp_path / "in" / "readme.txt").write_text("hello")
    accepted = accept_study(tmp_path / "in", database=site.database, site=site.settings)
    assert (len(accepted.instances), accepted.skipped) == (2, 1)


def test_the_same_study_again_changes_nothing(site, tmp_path):
    paths = make_study(tmp_path / "in", n_instances=2)
    first = accept_study(paths, database=site.database, site=site.settings)
    kept = site.stored_files()

    again = accept_study(paths, database=site.database, site=site.settings)

    assert (again.study_key, again.is_new) == (first.study_key, False)
    assert outcomes(again) == [InstanceReceipt.DUPLICATE] * 2
    assert site.stored_files() == kept


def test_of_two_files_with_one_sop_instance_uid_the_first_stays(site, tmp_path):
    first, second = (
        write_instance(
            tmp_path / f"{n}.dcm", seed=n, study_instance_uid=STUDY, sop_instance_uid=SOP
        )
        for n in (1, 2)
    )
    accepted = accept_study([first, second], database=site.database, site=site.settings)

    assert outcomes(accepted) == [InstanceReceipt.NEW, InstanceReceipt.CONFLICTING]
    name = site.one("SELECT file_name FROM instance")
    assert (site.settings.intake_dir / name).read_bytes() == first.read_bytes()
    events = {event for (event,) in site.rows("SELECT event FROM audit_record")}
    assert events == {"study_accepted", "conflicting_instance_received"}


def test_eight_processes_with_the_same_study_make_one(site, tmp_path):
    paths = make_study(tmp_path / "in", n_instances=2)
    site.database.dispose()  # connections do not survive a fork
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(8, mp_context=fork) as pool:
        tries = [pool.submit(accept_study, paths, site=site.settings) for _ in range(8)]
        accepted = [each.result(timeout=scaled(30)) for each in tries]

    assert len({a.study_key for a in accepted}) == 1
    assert sum(a.is_new for a in accepted) == 1
    assert site.one("SELECT count(*) FROM study") == 1
    assert site.one("SELECT count(*) FROM instance") == 2
    assert len(site.stored_files()) == 2


def test_a_database_that_is_away_is_told_in_words(site, tmp_path, monkeypatch):
    monkeypatch.setattr(accept, "DATABASE_TIMEOUT_S", 0.2)
    paths = make_study(tmp_path / "in", n_instances=1)
    away = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite'}")
    with pytest.raises(Transient, match=r"DATABASE_AWAY: .* send again") as told:
        accept_study(paths, database=away, site=site.settings)
    assert told.value.__cause__ is None

    accept_study(paths, database=site.database, site=site.settings)
    assert len(site.stored_files()) == 1, "what the first try left behind is taken up by the second"


def test_many_files_become_their_studies_and_refusals(site, tmp_path):
    one = make_study(tmp_path / "a", n_instances=2, study_instance_uid=STUDY)
    other = make_study(tmp_path / "b", n_instances=1, study_instance_uid=OTHER_STUDY)
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM")
    (tmp_path / "b" / "viewer.exe").write_bytes(b"MZ")
    seen = []

    enqueued = enqueue_paths(
        [one[0], text, tmp_path / "b", one[1]],
        database=site.database,
        settings=site.settings,
        on_file=lambda: seen.append(1),
    )

    assert [len(a.instances) for a in enqueued.accepted] == [2, 1]
    assert site.rows("SELECT study_instance_uid, source FROM study ORDER BY id") == [
        (STUDY, Source.CLI), (OTHER_STUDY, Source.CLI),
    ]  # fmt: skip
    assert [(r.position, r.of, r.error.code) for r in enqueued.refused] == [(2, 5, "NOT_DICOM")]
    assert enqueued.skipped == 1
    assert len(seen) == 5
    assert {p.read_bytes() for p in site.stored_files()} == {p.read_bytes() for p in [*one, *other]}


def test_waiting_ends_with_the_last_result(site, tmp_path):
    keys = [
        accept_study(
            make_study(tmp_path / str(n), n_instances=1), database=site.database, site=site.settings
        ).study_key
        for n in range(2)
    ]
    progress = []

    def work():
        for key in keys:
            claimed = claim_one(site.database, key)
            store(site.database, claimed, rejected_outcome(claimed))
            time.sleep(0.3)

    worker = threading.Thread(target=work)
    worker.start()
    summaries = wait_for_studies(
        site.database, [*keys, keys[0]], timeout_s=scaled(20), on_progress=progress.append
    )
    worker.join()

    assert {s.study_key: s.verdict for s in summaries} == dict.fromkeys(keys, Verdict.REJECTED)
    assert progress == sorted(progress)
    assert progress[-1] == 2


def test_waiting_ends_with_the_time(site, tmp_path):
    path = make_study(tmp_path / "in", n_instances=1)
    key = accept_study(path, database=site.database, site=site.settings).study_key
    (summary,) = wait_for_studies(site.database, [key], timeout_s=0)
    assert (summary.study_key, summary.state) == (key, StudyState.ACCEPTED)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("build", "code"), HOSTILE.values(), ids=HOSTILE)
def test_enqueue_refuses_what_is_no_regular_file_and_accepts_the_rest(site, tmp_path, build, code):
    make_study(tmp_path / "in", n_instances=2)
    build(tmp_path / "in" / "a.dcm")
    enqueued = enqueue_paths(tmp_path / "in", database=site.database, settings=site.settings)
    assert [len(each.instances) for each in enqueued.accepted] == [2]
    ((place, of, refused),) = [(r.position, r.of, r.error) for r in enqueued.refused]
    assert (of, refused.code) == (3, code)
    with pytest.raises(Rejected, match=f"{code}: File {place} of 3: Found "):
        accept_study(tmp_path / "in", database=site.database, site=site.settings)


def test_an_operators_own_path_may_be_a_link(site, tmp_path):
    make_study(tmp_path / "in", n_instances=2)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    accepted = accept_study(tmp_path / "link", database=site.database, site=site.settings)
    assert len(accepted.instances) == 2
