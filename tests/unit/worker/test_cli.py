"""What a person types, and the sentence that comes back."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import date
from importlib import import_module

import pytest
import typer

from db.engine.migrate import upgrade
from db.engine.session import Database
from db.ledger.audit import verify_chains
from tests.builders.dicom import write_instance
from tests.builders.installation import ROOT
from worker.commands.options import SCREENS, _day
from worker.intake.accept import accept_study
from worker.screens.console import counted
from worker.settings import read_settings


def pneumo(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def state(tmp_path):
    """A migrated, empty installation."""
    upgrade(read_settings(state_dir=tmp_path).database_url)
    return tmp_path


def test_help_reads_like_a_page():
    page = pneumo("--help").stdout
    for words in (
        "Run an installation", "Send studies", "See what happened", "Fix what went wrong",
        "Keep models and data", "For research until it is cleared", "train",
    ):  # fmt: skip
        assert words in page


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("retry",), "RETRY_WHICH", "Name the studies to retry, or give --parked"),
        (("retry", "0" * 32), "STUDY_UNKNOWN", "No study has this key or UID"),
        (("model", "activate", "vgg16-9"), "MODEL_UNKNOWN", "registered are: none"),
        (("model", "register", "docs"), "BUNDLE_FILE_MISSING", "holds no manifest.json"),
        (("enqueue", "nowhere.dcm"), "FILE_UNREADABLE", "nowhere.dcm: "),
        (("health", "heart"), "UNKNOWN_PART", "expected worker, relay, listener"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_in_one_sentence(state, arguments, code, words):
    said = pneumo("--state", state, *arguments)
    everything = " ".join((said.stdout + said.stderr).split())
    assert said.returncode == 1
    assert code in everything
    assert words in everything
    assert "Traceback" not in everything


@pytest.mark.parametrize("screen", SCREENS)
def test_a_command_and_its_screen_have_the_same_options(screen):
    module, name = screen.split(":")
    declared = inspect.signature(SCREENS[screen]).parameters
    shown = inspect.signature(getattr(import_module(module), name)).parameters
    assert [*declared] == [option for option in shown if option not in ("settings", "console")]
    for option, parameter in shown.items():
        if option in declared and parameter.default is not parameter.empty:
            assert parameter.default == declared[option].default


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "message", "0 messages"),
        (1, "message", "1 message"),
        (1, "study", "1 study"),
        (2, "study", "2 studies"),
        (12, "delivery", "12 deliveries"),
        (7, "day", "7 days"),
        (3, "ordered study", "3 ordered studies"),
    ],
)
def test_a_number_agrees_with_its_noun(count, noun, words):
    assert counted(count, noun) == words


def test_a_day_is_read_as_iso_8601_writes_it():
    assert _day("2026-02-28") == date(2026, 2, 28)
    with pytest.raises(typer.BadParameter, match="'2026-02-30' is not a day; expected 2026-01-31"):
        _day("2026-02-30")


@pytest.mark.parametrize("option", ["--peer", "--from-peer"])
def test_an_archive_is_named_by_peer_and_by_the_name_of_before(state, option):
    said = pneumo("--state", state, "pull", "--study", "1.2.3", option, "nobody")
    assert said.returncode == 1
    assert "PEER_UNKNOWN" in said.stderr
    assert "nobody" in said.stderr
    assert "--from-peer" not in pneumo("pull", "--help").stdout


@pytest.mark.parametrize("command", ["status", "report"])
def test_an_empty_installation_can_be_looked_at(state, command):
    said = pneumo("--state", state, command)
    assert said.returncode == 0, said.stderr
    assert "Studies" in said.stdout


def test_the_audit_trail_can_be_verified(state):
    said = pneumo("--state", state, "audit", "verify")
    assert (said.returncode, "unbroken" in said.stdout) == (0, True)


def test_a_study_that_is_not_there_is_said_so(state):
    said = pneumo("--state", state, "show", "abcdef")
    assert said.returncode == 1
    assert "STUDY_UNKNOWN No study has this key" in said.stderr


def test_an_installation_that_was_never_made_is_said_so(tmp_path):
    said = pneumo("--state", tmp_path / "absent", "status")
    assert said.returncode == 1
    assert "DATABASE_NOT_READY" in said.stderr
    assert "pneumo migrate" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_wrong_setting_is_said_by_its_name(state, monkeypatch):
    monkeypatch.setenv("PNEUMO_LEASE_S", "soon")
    said = pneumo("--state", state, "status")
    assert said.returncode == 1
    assert "PNEUMO_LEASE_S" in said.stderr


def test_migrating_makes_the_folder_and_says_the_revision(tmp_path):
    said = pneumo("--state", tmp_path / "new" / "site", "migrate")
    assert said.returncode == 0, said.stderr
    assert "The database is at revision" in said.stdout


def test_files_are_enqueued_and_found_again(state, tmp_path):
    file = write_instance(tmp_path / "a.dcm")
    said = pneumo("--state", state, "enqueue", file, "--priority", "stat")
    assert said.returncode == 0, said.stderr
    again = pneumo("--state", state, "enqueue", file)
    assert "1 new" in said.stdout
    assert "1 duplicate" in again.stdout


def test_a_manifest_alone_announces_a_study_and_with_files_closes_it(state, tmp_path):
    uids = {"study_instance_uid": "1.2.3", "sop_instance_uid": "1.2.3.1"}
    file = write_instance(tmp_path / "a.dcm", **uids)
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"study_instance_uid": "1.2.3", "sop_instance_uids": ["1.2.3.1"]}')
    said = pneumo("--state", state, "enqueue", "--manifest", manifest)
    assert (said.returncode, "announced" in said.stdout) == (0, True), said.stderr
    assert "accepted" in pneumo("--state", state, "enqueue", file, "--manifest", manifest).stdout
    assert "give files or folders" in pneumo("--state", state, "enqueue").stderr


def test_erasing_takes_the_identity_and_leaves_the_chain_whole(state, tmp_path):
    site = read_settings(state_dir=state)
    database = Database(site.database_url)
    file = write_instance(tmp_path / "a.dcm", patient_id="PID-9")
    key = accept_study([file], database=database, site=site).study_key
    first = pneumo("--state", state, "erase", key[:12], "--yes")
    second = pneumo("--state", state, "erase", key, "--yes")
    assert (first.returncode, second.returncode) == (0, 1)
    assert "there was nothing to erase" in second.stdout
    with database.transaction() as session:
        assert verify_chains(session).ok
    database.dispose()
