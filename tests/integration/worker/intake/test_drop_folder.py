"""Folders that a bridge hands over by message: taken over once, whatever dies or is lost."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import secrets
import shutil

import pytest
from pydicom import dcmread
from rich.console import Console

from db.ledger.conditions import active_conditions
from tests.builders.dicom import make_instance, make_study, write_instance
from tests.builders.hostile_paths import HOSTILE
from worker.errors import Rejected, Transient
from worker.intake import accept, drop_folder, files
from worker.intake.drop_folder import (
    HandoverOutcome,
    accept_folder,
    count_refused_folders,
    overdue_folders,
)
from worker.maintenance.housekeeping import Housekeeping
from worker.screens.status import show_status
from worker.storage.untrusted_files import UntrustedPath

STUDY, OTHER = "1.2.3.10", "1.2.3.20"


@pytest.fixture
def hand_over(site):
    """What a bridge does: write under another name, rename, tell the name."""

    def make(*studies: str, suffix: str = "") -> str:
        name = secrets.token_hex(16) + suffix
        part = site.settings.handed_over_dir / f"{name}.part"
        for uid in studies:
            make_study(part / uid[-2:], n_instances=2, study_instance_uid=uid)
        part.mkdir(parents=True, exist_ok=True)
        part.rename(site.settings.handed_over_dir / name)
        return name

    return make


def left(site):
    return sorted(p.name for p in site.settings.handed_over_dir.iterdir())


def test_every_study_of_a_folder_is_taken_over_and_the_folder_goes(site, hand_over):
    name = hand_over(STUDY, OTHER)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    rows = site.rows("SELECT study_instance_uid, source, priority FROM study ORDER BY 1")
    assert rows == [(STUDY, "message", "routine"), (OTHER, "message", "routine")]
    assert site.one("SELECT count(*) FROM instance") == 4
    assert left(site) == []


def test_a_name_may_ask_for_haste(site, hand_over):
    accept_folder(hand_over(STUDY, suffix=".stat"), site.settings, site.database)
    assert site.rows("SELECT priority, lane FROM study") == [("stat", "stat")]


def test_a_second_message_finds_nothing_and_does_nothing(site, hand_over):
    name = hand_over(STUDY)
    accept_folder(name, site.settings, site.database)
    audited = site.one("SELECT count(*) FROM audit_record")
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.ABSENT
    assert site.one("SELECT count(*) FROM audit_record") == audited


def test_a_folder_that_another_worker_holds_is_left_to_it(site, hand_over):
    name = hand_over(STUDY)
    descriptor = os.open(site.settings.handed_over_dir / name, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.BUSY
    os.close(descriptor)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER


def test_a_death_between_the_rows_and_the_end_means_doing_it_again(site, hand_over, monkeypatch):
    name = hand_over(STUDY)

    def die(_):
        raise SystemExit

    monkeypatch.setattr(drop_folder.shutil, "rmtree", die)
    with pytest.raises(SystemExit):
        accept_folder(name, site.settings, site.database)
    monkeypatch.undo()
    assert overdue_folders(site.settings, older_than_s=-1) == [name]
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    assert site.one("SELECT count(*) FROM study") == 1
    assert site.one("SELECT max(revision) FROM study") == 1


def test_what_cannot_be_read_is_kept_with_its_reasons_and_the_rest_is_taken_over(site, hand_over):
    name = hand_over(STUDY)
    folder = site.settings.handed_over_dir / name
    broken = write_instance(folder / "broken.dcm", study_instance_uid=OTHER)
    broken.write_bytes(broken.read_bytes()[:200])
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert site.rows("SELECT study_instance_uid FROM study") == [(STUDY,)]
    aside = site.settings.handed_over_dir / "refused" / name
    (reason,) = json.loads((aside / "reasons.json").read_text())
    assert (reason["file"], reason["of"]) == (3, 3)
    assert reason["code"]
    assert OTHER not in json.dumps(reason), "a UID leads to a person"
    assert count_refused_folders(site.settings) == 1

    write_instance(aside / "broken.dcm", study_instance_uid=OTHER)
    (aside / "reasons.json").write_text("[]")
    aside.rename(folder)
    (folder / "b").mkdir()
    (folder / "b" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish" * 9)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert len(json.loads((aside / "reasons.json").read_text())) == 1, "not those of before"

    shutil.rmtree(aside / "b")
    aside.rename(folder)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    assert site.one("SELECT count(*) FROM study") == 2


def test_an_empty_folder_is_refused_by_name_and_the_status_says_so(site, hand_over):
    name = hand_over()
    console = Console(record=True, width=200, file=io.StringIO())
    show_status(site.settings, console)
    assert "handed over by a bridge" not in console.export_text()
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    show_status(site.settings, console)
    assert "Refused: 1 folder handed over by a bridge." in console.export_text()
    aside = site.settings.handed_over_dir / "refused" / name / "reasons.json"
    assert json.loads(aside.read_text())[0]["code"] == "NO_FILES"


def test_a_database_that_is_away_leaves_the_folder_for_the_next_message(
    site, hand_over, monkeypatch
):
    name = hand_over(STUDY)

    def away(*_, **__):
        raise Transient("DATABASE_AWAY", "The database did not answer in time.")

    monkeypatch.setattr(accept, "_record", away)
    with pytest.raises(Transient):
        accept_folder(name, site.settings, site.database)
    assert left(site) == [name]


@pytest.mark.parametrize(
    "name", ["../secrets", "1.2.840.10008.1", "DOE^JANE", "a" * 31, "A" * 32, "a" * 32 + ".part"]
)
def test_what_is_no_opaque_name_is_refused_and_not_repeated(site, name):
    with pytest.raises(Rejected, match="expected 32 hexadecimal digits") as refusal:
        accept_folder(name, site.settings, site.database)
    assert name not in str(refusal.value)


def test_only_whole_folders_are_overdue(site, hand_over):
    name = hand_over(STUDY)
    (site.settings.handed_over_dir / f"{secrets.token_hex(16)}.part").mkdir()
    assert overdue_folders(site.settings, older_than_s=-1) == [name]
    assert overdue_folders(site.settings, older_than_s=60) == []


def test_a_manifest_in_the_folder_makes_the_study_wait_for_the_rest(site, hand_over):
    first, second = hand_over(STUDY), hand_over()
    folder = site.settings.handed_over_dir
    here = [dcmread(path).SOPInstanceUID for path in (folder / first).rglob("*.dcm")]
    late = make_instance(study_instance_uid=STUDY)
    manifest = {"study_instance_uid": STUDY, "sop_instance_uids": [*here, late.SOPInstanceUID]}
    (folder / first / "manifest.json").write_text(json.dumps(manifest))
    late.save_as(folder / second / "late.dcm")

    accept_folder(first, site.settings, site.database)
    assert site.one("SELECT state FROM study") == "receiving"
    accept_folder(second, site.settings, site.database)
    assert site.rows("SELECT state, closed_by FROM study") == [("accepted", "manifest")]


def test_a_manifest_that_cannot_be_used_is_told_with_the_folder(site, hand_over):
    name = hand_over(STUDY)
    (site.settings.handed_over_dir / name / "manifest.json").write_text("[]")
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    reasons = json.loads(
        (site.settings.handed_over_dir / "refused" / name / "reasons.json").read_text()
    )
    assert [reason["code"] for reason in reasons] == ["MANIFEST_INVALID"]


def told(site):
    with site.database.reading() as session:
        return {c.subject: (c.code, c.times) for c in active_conditions(session)}


def cannot(*_):
    raise PermissionError(errno.EPERM, "of a path with a name in it")


def test_a_folder_that_cannot_be_deleted_is_taken_over_once_and_told(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder.shutil, "rmtree", cannot)  # root may remove what nobody may
        for _ in range(3):
            assert accept_folder(name, site.settings, site.database) is HandoverOutcome.STAYS
    assert site.rows("SELECT event, count(*) FROM audit_record GROUP BY 1") == [
        ("study_accepted", 1)
    ]
    assert told(site) == {f"handed-over folder {name}": ("HANDOVER_CANNOT_LEAVE", 3)}
    sentence = str(site.one("SELECT sentence FROM site_condition"))
    assert "EPERM" in sentence
    assert "path" not in sentence

    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    assert (told(site), left(site)) == ({}, [])


def test_a_refused_folder_that_cannot_be_moved_is_looked_at_once(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    (site.settings.handed_over_dir / name / "broken.dcm").write_bytes(b"cut short")
    (site.settings.handed_over_dir / name / "manifest.json").write_text("[]")
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder, "_move", cannot)
        for _ in range(2):
            assert accept_folder(name, site.settings, site.database) is HandoverOutcome.STAYS
    assert told(site) == {f"handed-over folder {name}": ("REFUSED_HANDOVER_CANNOT_LEAVE", 2)}

    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert (told(site), left(site)) == ({}, ["refused"])


@pytest.mark.parametrize("written", [True, False])
def test_the_reasons_of_a_folder_that_cannot_be_moved_are_told(
    site, hand_over, monkeypatch, written, capsys
):
    """At once in the log and in the folder; in one that cannot be written, when it is moved."""
    name = hand_over(STUDY)
    folder = site.settings.handed_over_dir / name
    (folder / "broken.dcm").write_bytes(write_instance(folder / "w.dcm").read_bytes()[:200])
    (folder / "w.dcm").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder, "_move", cannot)
        if not written:
            patched.setattr(UntrustedPath, "write_text", cannot)
        assert accept_folder(name, site.settings, site.database) is HandoverOutcome.STAYS
    assert (folder / "reasons.json").exists() is written
    said = capsys.readouterr()
    assert "handover_refused" in said.out + said.err

    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    aside = site.settings.handed_over_dir / "refused" / name
    (reason,) = json.loads((aside / "reasons.json").read_text())
    assert (reason["file"], reason["of"]) == (3, 3)
    assert reason["code"] in str(said)
    assert site.rows("SELECT study_instance_uid, revision FROM study") == [(STUDY, 1)]


def test_a_folder_that_somebody_removed_is_no_condition_any_more(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder.shutil, "rmtree", cannot)
        accept_folder(name, site.settings, site.database)
    Housekeeping(site.settings, site.database).run_once()
    assert told(site), "it still lies there"

    shutil.rmtree(site.settings.handed_over_dir / name)
    Housekeeping(site.settings, site.database).run_once()
    assert told(site) == {}


# -- folders that somebody filled with other things than files ---------------------------------


def reasons_of(site, name) -> list[tuple[int, str]]:
    aside = site.settings.handed_over_dir / "refused" / name / "reasons.json"
    return [(reason["file"], reason["code"]) for reason in json.loads(aside.read_text())]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("build", "code"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", ["a.dcm", "manifest.json"])
def test_what_is_no_regular_file_is_refused_and_its_neighbours_are_accepted(
    site, hand_over, build, code, name, capsys
):
    handed_over = hand_over(STUDY)
    build(site.settings.handed_over_dir / handed_over / name)
    outcome = accept_folder(handed_over, site.settings, site.database)
    assert outcome is HandoverOutcome.REFUSED
    if name == "a.dcm":
        assert reasons_of(site, handed_over) == [(3, code)]
        assert site.one("SELECT count(*) FROM instance") == 2
    else:  # an unusable manifest refuses the folder as a whole
        assert reasons_of(site, handed_over) == [(0, code)]
        assert site.one("SELECT count(*) FROM instance") == 0
    assert "a.dcm" not in str(capsys.readouterr())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("build", "code"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_folder_is_refused_and_nothing_outside_is_touched(
    site, hand_over, build, code, tmp_path
):
    name = secrets.token_hex(16)
    site.settings.handed_over_dir.mkdir(parents=True)
    build(site.settings.handed_over_dir / name)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    expected = "LINK_REFUSED" if code == "LINK_REFUSED" else "NOT_A_REGULAR_FILE"
    assert reasons_of(site, name) == [(0, expected)]
    assert left(site) == ["refused"]
    assert count_refused_folders(site.settings) == 1
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.ABSENT


def test_a_link_to_a_folder_of_images_is_not_accepted(site, tmp_path):
    make_study(tmp_path / "elsewhere", n_instances=1)
    name = secrets.token_hex(16)
    site.settings.handed_over_dir.mkdir(parents=True)
    (site.settings.handed_over_dir / name).symlink_to(tmp_path / "elsewhere")
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert site.one("SELECT count(*) FROM study") == 0
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_link_put_in_a_files_place_after_the_listing_is_refused(
    site, hand_over, monkeypatch, tmp_path
):
    name = hand_over(STUDY)
    folder = site.settings.handed_over_dir / name
    secret = write_instance(tmp_path / "secret.dcm", study_instance_uid=OTHER)
    victim = sorted(folder.rglob("*.dcm"))[1]
    scan = accept.read_headers

    def scan_then_swap(*arguments, **keywords):
        found = scan(*arguments, **keywords)
        victim.unlink()
        victim.symlink_to(secret)
        return found

    monkeypatch.setattr(accept, "read_headers", scan_then_swap)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(2, "LINK_REFUSED")]
    assert site.rows("SELECT study_instance_uid FROM study") == [(STUDY,)]
    assert site.one("SELECT count(*) FROM instance") == 1


def test_a_file_exchanged_after_the_listing_is_refused(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    victim = min((site.settings.handed_over_dir / name).rglob("*.dcm"))
    scan = accept.read_headers

    def scan_then_exchange(*arguments, **keywords):
        found = scan(*arguments, **keywords)
        write_instance(victim, study_instance_uid=OTHER)
        return found

    monkeypatch.setattr(accept, "read_headers", scan_then_exchange)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(1, "FILE_CHANGED")]
    assert site.rows("SELECT study_instance_uid FROM study") == [(STUDY,)]


MANIFESTS = {
    "100,000 brackets": (b"[" * 100_000, "MANIFEST_INVALID"),
    "100,000 nested objects": (b'{"a":' * 100_000, "MANIFEST_INVALID"),
    "a number of 100,000 digits": (b"9" * 100_000, "MANIFEST_INVALID"),
    "invalid UTF-8": (b"\xff\xfe\xfa" * 100, "MANIFEST_INVALID"),
    "five megabytes": (b" " * (5 << 20), "FILE_TOO_LARGE"),
}


@pytest.mark.parametrize(("content", "code"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_hostile_manifest_is_refused_at_once(site, hand_over, content, code):
    name = hand_over(STUDY)
    (site.settings.handed_over_dir / name / "manifest.json").write_bytes(content)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(0, code)]


def test_more_files_and_deeper_folders_than_allowed_are_refused(site, hand_over):
    settings = site.settings.model_copy(update={"max_handover_files": 3, "max_folder_depth": 2})
    many, deep = hand_over(STUDY, OTHER), hand_over(STUDY)
    (settings.handed_over_dir / deep / "1" / "2" / "3").mkdir(parents=True)
    for name in (many, deep):
        assert accept_folder(name, settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, many) == [(0, "TOO_MANY_FILES")]
    assert reasons_of(site, deep)[0][1] in ("FOLDER_TOO_DEEP", "TOO_MANY_FILES")


# -- folders that fail for ever -----------------------------------------------------------------


def test_a_header_that_no_parser_foresaw_is_refused_alone(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    read = files.read_header
    calls = []

    def fail_once(source):
        calls.append(source)
        if len(calls) == 1:
            raise OverflowError("of a Number of Frames of 400 digits")
        return read(source)

    monkeypatch.setattr(files, "read_header", fail_once)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(1, "HEADER_UNREADABLE")]
    assert site.one("SELECT count(*) FROM instance") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, RecursionError, MemoryError, KeyError])
def test_a_folder_that_fails_for_ever_is_a_condition_and_then_refused(
    site, hand_over, monkeypatch, error
):
    name = hand_over(STUDY)
    settings = site.settings.model_copy(update={"handover_attempts": 3})

    def fail(*_, **__):
        raise error("of a path with a name in it")

    with monkeypatch.context() as patched:
        patched.setattr(drop_folder, "enqueue_paths", fail)
        for _ in range(3):
            outcome = accept_folder(name, settings, site.database)
            assert outcome is HandoverOutcome.FAILED
        assert told(site) == {f"handed-over folder {name}": ("HANDOVER_FAILED", 3)}
        assert "name in it" not in str(site.one("SELECT sentence FROM site_condition"))
        assert accept_folder(name, settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(0, "HANDOVER_FAILED")]
    assert told(site) == {}

    aside = settings.handed_over_dir / "refused" / name
    aside.rename(settings.handed_over_dir / name)
    assert accept_folder(name, settings, site.database) is HandoverOutcome.TAKEN_OVER


def test_a_study_that_fails_does_not_hold_up_the_others(site, hand_over, monkeypatch):
    name = hand_over(STUDY, OTHER)
    record = accept._record_study

    def fail_one(received, **keywords):
        if received.study_instance_uid == STUDY:
            raise ValueError("of a constraint")
        return record(received, **keywords)

    monkeypatch.setattr(accept, "_record_study", fail_one)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.FAILED
    assert site.rows("SELECT study_instance_uid FROM study") == [(OTHER,)]


def test_an_attempt_whose_process_died_counts_and_an_outage_does_not(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    settings = site.settings.model_copy(update={"handover_attempts": 2})

    def raises(error):
        def fail(*_, **__):
            raise error

        return fail

    with monkeypatch.context() as patched:
        patched.setattr(drop_folder, "enqueue_paths", raises(Transient("DATABASE_AWAY", "Away.")))
        for _ in range(5):
            with pytest.raises(Transient):
                accept_folder(name, settings, site.database)
        assert told(site) == {}
        patched.setattr(
            drop_folder, "enqueue_paths", raises(SystemExit())
        )  # a death, as SQL sees it
        for _ in range(2):
            with pytest.raises(SystemExit):
                accept_folder(name, settings, site.database)
    assert told(site) == {f"handed-over folder {name}": ("HANDOVER_FAILED", 1)}
    assert accept_folder(name, settings, site.database) is HandoverOutcome.REFUSED
    assert told(site) == {}
    assert not list((settings.intake_dir / "handover-attempts").iterdir())
