"""`pneumo erase --patient`: the id comes by standard input, never by the command line."""

from __future__ import annotations

import subprocess
import sys

from tests.builders.database import accept_one, events_of, one, uid_of
from tests.builders.installation import ROOT


def erase(settings, *arguments, typed=""):
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", "--state", settings.state_dir, "erase", *arguments],
        cwd=ROOT, input=typed, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_study_of_a_patient_is_erased(settings, database):
    keys = [accept_one(database, uid=uid_of(n), patient_id="P-1").study_key for n in (1, 2)]
    accept_one(database, uid=uid_of(3), patient_id="P-2")

    said = erase(settings, "--patient", "--yes", typed="P-1\n")

    assert said.returncode == 0, said.stderr
    assert said.stdout.count(": erased;") == 2
    assert "P-1" not in said.stdout + said.stderr
    assert one(database, "SELECT count(*) FROM study_identity") == 1
    assert [events_of(database, key)[-1] for key in keys] == ["identity_erased"] * 2
    assert erase(settings, "--patient", "--yes", typed="P-1\n").returncode == 1


def test_another_issuer_is_another_patient(settings, database):
    for number, issuer in enumerate(("NORTH", "SOUTH")):
        accept_one(database, uid=uid_of(number), patient_id="P-1", issuer_of_patient_id=issuer)

    assert erase(settings, "--patient", "--yes", typed="P-1\nNORTH\n").returncode == 0

    assert one(database, "SELECT issuer_of_patient_id FROM study_identity") == "SOUTH"


def test_without_yes_nothing_is_erased_by_a_script(settings, database):
    accept_one(database, patient_id="P-1")
    assert erase(settings, "--patient", typed="P-1\n\n").returncode == 1
    assert one(database, "SELECT count(*) FROM study_identity") == 1


def test_what_is_not_clear_is_refused(settings, database):
    for arguments, typed, code in (
        ((), "", "ERASE_WHICH"),
        (("abcd", "--patient"), "", "ERASE_WHICH"),
        (("--patient",), "\n", "PATIENT_ID_EMPTY"),
    ):
        said = erase(settings, *arguments, typed=typed)
        assert (said.returncode, code in said.stderr) == (1, True), said.stderr
