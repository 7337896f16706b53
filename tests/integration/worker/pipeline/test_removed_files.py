"""Late images of a study whose first files have left, and what is told of those."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from rich.console import Console
from sqlalchemy import text

from db.ledger.model_registry import activate_model
from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files, query_rows, random_network, write_bundle
from worker.errors import Rejected
from worker.inference.active_model import register_bundle
from worker.maintenance.retention import remove_expired_files
from worker.pipeline.process_study import ProcessingOutcome, process_study
from worker.screens.result_files import show_results
from worker.screens.study import show_study


@pytest.fixture(scope="module")
def runtime(start, tmp_path_factory):
    """Two models: the first finds everything positive, the second nothing."""
    folder = tmp_path_factory.mktemp("left")
    first = write_bundle(folder, random_network(1), threshold=1e-6, model_version="1.0.0")
    runtime = start(first)
    second = write_bundle(folder, random_network(1), threshold=1 - 1e-6, model_version="2.0.0")
    register_bundle(runtime.database, runtime.settings, second, actor="test")
    return runtime


def use(runtime, name):
    with runtime.database.transaction() as session:
        activate_model(session, name, "test")
    runtime.models.follow()
    assert runtime.model.record.name == name


def files_leave(runtime, key):
    with runtime.database.transaction() as session:
        session.execute(
            text("UPDATE study SET finished_at = '2020-01-01 00:00:00' WHERE study_key = :key"),
            {"key": key},
        )
    assert remove_expired_files(runtime.settings, runtime.database, actor="test").files == 1


def study(runtime, key):
    (row,) = query_rows(
        runtime,
        "SELECT s.*, m.name AS model FROM study s"
        " JOIN model_version m ON m.id = s.model_version_id WHERE study_key = :key",
        key=key,
    )
    return row


@pytest.mark.parametrize("model", ["resnet50-1.0.0", "resnet50-2.0.0"])
def test_a_late_image_is_predicted_and_what_was_found_before_stands(runtime, tmp_path, model):
    use(runtime, "resnet50-1.0.0")
    uid = f"1.2.3.{model[-5]}"
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", study_instance_uid=uid, seed=1))
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    before = study(runtime, key)
    assert before["verdict"] == "positive"
    files_leave(runtime, key)

    use(runtime, model)
    late = write_instance(tmp_path / "b.dcm", study_instance_uid=uid, seed=2)
    assert accept_files(runtime, late) == key
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    after = study(runtime, key)
    assert (after["state"], after["verdict"], after["revision"]) == ("done", "positive", 2)
    assert after["model"] == "resnet50-1.0.0", "the model that found it positive"
    if model == "resnet50-2.0.0":
        assert after["probability"] == before["probability"]
        assert after["threshold"] == before["threshold"]
    made = query_rows(
        runtime,
        "SELECT p.id FROM prediction p JOIN instance i ON i.id = p.instance_id"
        " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key",
        key=key,
    )
    assert len(made) == 2


def test_results_say_that_the_files_left_and_how_to_bring_them_back(runtime, tmp_path):
    path = write_instance(tmp_path / "a.dcm", seed=3)
    key = accept_files(runtime, path)
    process_study(key, runtime)
    files_leave(runtime, key)
    words = r"RESULT_FILES_GONE: The retention rule .* removed .* on 20.* have the study sent"
    with pytest.raises(Rejected, match=words):
        show_results(runtime.settings, key, tmp_path / "out")
    console = Console(width=160, file=io.StringIO(), record=True)
    show_study(runtime.settings, key, console)
    assert "removed 20" in console.export_text()

    assert accept_files(runtime, path) == key
    assert show_results(runtime.settings, key, tmp_path / "out", Console(file=io.StringIO())) == 0


@pytest.mark.parametrize("patient", ["P-1", "P-2"])
def test_a_late_image_of_somebody_else_is_not_told_together_with_what_left(
    runtime, tmp_path, patient
):
    use(runtime, "resnet50-1.0.0")
    uid = f"1.2.3.7.{patient[-1]}"
    first = write_instance(
        tmp_path / "a.dcm", study_instance_uid=uid, seed=11, patient_id="P-1", patient_name="Ä^B",
        SpecificCharacterSet="ISO_IR 100",
    )  # fmt: skip
    key = accept_files(runtime, first)
    process_study(key, runtime)
    files_leave(runtime, key)
    late = write_instance(
        tmp_path / "b.dcm", study_instance_uid=uid, seed=12, patient_id=patient, patient_name="Ä^B",
        SpecificCharacterSet="ISO_IR 100",
    )  # fmt: skip
    assert accept_files(runtime, late) == key
    assert process_study(key, runtime) is ProcessingOutcome.STORED

    def write():
        return show_results(runtime.settings, key, tmp_path / "out", Console(file=io.StringIO()))

    if patient == "P-2":
        with pytest.raises(Rejected, match="RESULT_PATIENTS_DIFFER"):
            write()
        return
    assert write() == 0
    told = [dcmread(path) for path in (tmp_path / "out").iterdir()]
    assert {(str(it.PatientID), str(it.PatientName)) for it in told} == {("P-1", "Ä^B")}
