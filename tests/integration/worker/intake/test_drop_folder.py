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

from tests.builders.dicom import make_instance, write_instance
from worker.errors import Rejected, Transient
from worker.intake import accept, drop_folder
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
    assert site.active_conditions() == {f"handed-over folder {name}": ("HANDOVER_CANNOT_LEAVE", 3)}
    sentence = str(site.one("SELECT sentence FROM site_condition"))
    assert "EPERM" in sentence
    assert "path" not in sentence

    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    assert (site.active_conditions(), left(site)) == ({}, [])


def test_a_refused_folder_that_cannot_be_moved_is_looked_at_once(site, hand_over, monkeypatch):
    name = hand_over(STUDY)
    (site.settings.handed_over_dir / name / "broken.dcm").write_bytes(b"cut short")
    (site.settings.handed_over_dir / name / "manifest.json").write_text("[]")
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder, "_move", cannot)
        for _ in range(2):
            assert accept_folder(name, site.settings, site.database) is HandoverOutcome.STAYS
    assert site.active_conditions() == {
        f"handed-over folder {name}": ("REFUSED_HANDOVER_CANNOT_LEAVE", 2)
    }

    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.REFUSED
    assert (site.active_conditions(), left(site)) == ({}, ["refused"])


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
    assert site.active_conditions(), "it still lies there"

    shutil.rmtree(site.settings.handed_over_dir / name)
    Housekeeping(site.settings, site.database).run_once()
    assert site.active_conditions() == {}


# -- folders that somebody filled with other things than files ---------------------------------
