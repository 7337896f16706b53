"""Folders that a bridge hands over and that hold what no bridge should: refused by code, nothing held up."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.builders.dicom import make_study, write_instance
from tests.builders.hostile_paths import HOSTILE
from worker.errors import Transient
from worker.intake import accept, drop_folder, files
from worker.intake.drop_folder import (
    HandoverOutcome,
    accept_folder,
    count_refused_folders,
)

STUDY, OTHER = "1.2.3.10", "1.2.3.20"


def left(site):
    return sorted(p.name for p in site.settings.handed_over_dir.iterdir())


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
        assert site.active_conditions() == {f"handed-over folder {name}": ("HANDOVER_FAILED", 3)}
        assert "name in it" not in str(site.one("SELECT sentence FROM site_condition"))
        assert accept_folder(name, settings, site.database) is HandoverOutcome.REFUSED
    assert reasons_of(site, name) == [(0, "HANDOVER_FAILED")]
    assert site.active_conditions() == {}

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
        assert site.active_conditions() == {}
        patched.setattr(
            drop_folder, "enqueue_paths", raises(SystemExit())
        )  # a death, as SQL sees it
        for _ in range(2):
            with pytest.raises(SystemExit):
                accept_folder(name, settings, site.database)
    assert site.active_conditions() == {f"handed-over folder {name}": ("HANDOVER_FAILED", 1)}
    assert accept_folder(name, settings, site.database) is HandoverOutcome.REFUSED
    assert site.active_conditions() == {}
    assert not list((settings.intake_dir / "handover-attempts").iterdir())
