"""`pneumo results`: what a finished study's rows and files become."""

from __future__ import annotations

import io

import pydicom
import pytest
from rich.console import Console
from sqlalchemy import text

from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files
from worker.errors import Rejected, Resource, Transient
from worker.pipeline.process_study import process_study
from worker.screens.result_files import show_results
from worker.storage.intake_folder import IntakeStorage

UID = "1.2.3.77"


def results_of(runtime, key, folder):
    console = Console(width=120, file=io.StringIO(), record=True)
    assert show_results(runtime.settings, key, folder, console) == 0
    return {path.name: path for path in folder.iterdir()}, console.export_text()


def test_a_finished_study_becomes_a_report_and_a_capture(runtime, tmp_path):
    whose = {"study_instance_uid": UID, "PatientName": "DOE^JANE"}
    key = accept_files(
        runtime,
        write_instance(tmp_path / "a.dcm", **whose),
        write_instance(tmp_path / "b.dcm", ViewPosition="LL", **whose),
    )
    process_study(key, runtime)

    files, said = results_of(runtime, key, tmp_path / "out")
    assert len(files) == 2
    report = pydicom.dcmread(files.pop("report.dcm"))
    (capture,) = (pydicom.dcmread(path) for path in files.values())
    assert {report.Modality, capture.Modality} == {"SR", "OT"}
    assert {report.StudyInstanceUID, capture.StudyInstanceUID} == {UID}
    assert str(report.PatientName) == str(capture.PatientName) == "DOE^JANE"
    assert "DOE" not in said
    assert UID not in said
    again, _ = results_of(runtime, key, tmp_path / "again")
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert {name: path.read_bytes() for name, path in again.items()} == first


def test_a_study_of_which_nothing_was_assessed_says_so(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", ViewPosition="LL"))
    process_study(key, runtime)
    files, _ = results_of(runtime, key, tmp_path / "out")
    report = str(pydicom.dcmread(files["report.dcm"]))
    assert "111245" in report, "No algorithms succeeded (CID 6047)"
    assert "122157" not in report, "no probability where nothing was assessed"


def test_what_has_no_result_yet_is_refused(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm"))
    with pytest.raises(Rejected, match="The study is accepted and has no result"):
        show_results(runtime.settings, key, tmp_path / "out")
    with pytest.raises(Rejected, match="No study has this key"):
        show_results(runtime.settings, "f" * 32, tmp_path / "out")


def test_a_file_that_is_missing_is_told(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=9))
    process_study(key, runtime)
    with runtime.database.transaction() as session:
        name = session.execute(
            text(
                "SELECT file_name FROM instance i JOIN study s ON s.id = i.study_id"
                " WHERE s.study_key = :key"
            ),
            {"key": key},
        ).scalar_one()
    IntakeStorage(runtime.settings.intake_dir).discard(name)
    with pytest.raises(Transient, match="one is not in this machine's intake folder"):
        show_results(runtime.settings, key, tmp_path / "out")


def test_a_worker_makes_no_intake_folder_anew(runtime, tmp_path):
    """It would be the folder that the listener refuses to make where a mount is missing."""
    accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=11))
    intake, elsewhere = runtime.settings.intake_dir, tmp_path / "mounted elsewhere"
    intake.rename(elsewhere)
    try:
        with pytest.raises(Resource, match="INTAKE_FOLDER_MISSING"):
            runtime.storage.keep_bytes(b"fetched")
        assert not intake.exists()
    finally:
        elsewhere.rename(intake)
