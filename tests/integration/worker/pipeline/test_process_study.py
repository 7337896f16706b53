"""A study's story on a real database with the real network, in this process."""

from __future__ import annotations

import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sqlalchemy import text

from db.ledger.model_registry import activate_model
from db.studies.publication import sweep_expired_leases
from db.studies.results import retry_parked
from tests.builders.bundles import make_manifest
from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files
from worker.errors import Rejected
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess, standardise
from worker.imaging.reading import read_dataset
from worker.inference.active_model import register_bundle
from worker.intake.accept import expect_instances
from worker.model.architectures import build_model
from worker.model.bundle import default_bundle, save_bundle
from worker.pipeline import process_study as pipeline
from worker.pipeline.process_study import ProcessingOutcome, process_study
from worker.tasks import process_study as task


@pytest.fixture(scope="module")
def runtime(start):
    """The packaged model, which warns of the drawn pictures instead of refusing them; no shadow."""
    return start(wrong_images="warn", shadow=False, max_retries=2, retry_base_s=0.001)


def row(runtime, sql: str, **values):
    with runtime.database.transaction() as session:
        return session.execute(text(sql), values).mappings().one()


def study(runtime, key: str):
    return row(runtime, "SELECT * FROM study WHERE study_key = :key", key=key)


def count(runtime, table: str) -> int:
    return row(runtime, f"SELECT count(*) AS n FROM {table}")["n"]


def test_the_verdict_is_that_of_the_eligible_images(runtime, tmp_path):
    uid = "1.2.3.1"
    key = accept_files(
        runtime,
        write_instance(tmp_path / "a.dcm", study_instance_uid=uid, seed=1, window=(2048, 4096)),
        write_instance(tmp_path / "b.dcm", study_instance_uid=uid, seed=2),
        write_instance(tmp_path / "c.dcm", study_instance_uid=uid, view_position="LL"),
    )
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    found = study(runtime, key)
    with runtime.database.transaction() as session:
        rows = session.execute(
            text(
                "SELECT i.state, i.refusal_code, p.probability, p.normalisation FROM instance i"
                " LEFT JOIN prediction p ON p.instance_id = i.id"
                " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key ORDER BY i.id"
            ),
            {"key": key},
        ).all()
    assert [(r.state, r.refusal_code) for r in rows] == [
        ("predicted", None),
        ("predicted", None),
        ("refused", "VIEW_NOT_FRONTAL"),
    ]
    assert found["probability"] == max(rows[0].probability, rows[1].probability)
    assert found["state"] == "done"
    assert '"voi": "window"' in rows[0].normalisation
    assert '"voi": "percentile_stretch"' in rows[1].normalisation


def test_a_study_without_an_eligible_image_is_rejected_which_is_a_result(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", modality="MG", seed=3))
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    found = study(runtime, key)
    assert (found["verdict"], found["probability"], found["state"]) == ("rejected", None, "done")


def test_a_second_message_for_a_finished_study_is_dropped(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=4))
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    before = count(runtime, "prediction"), count(runtime, "audit_record")
    assert process_study(key, runtime) is ProcessingOutcome.DROPPED
    assert (count(runtime, "prediction"), count(runtime, "audit_record")) == before


def test_a_changed_image_decides_and_the_earlier_prediction_stays(runtime, tmp_path):
    uids = {"study_instance_uid": "1.2.9.77", "sop_instance_uid": "1.2.9.77.1"}
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=70, **uids))
    assert process_study(key, runtime) is ProcessingOutcome.STORED

    accept_files(runtime, write_instance(tmp_path / "b.dcm", seed=71, **uids))
    assert process_study(key, runtime) is ProcessingOutcome.STORED

    with runtime.database.transaction() as session:
        rows = session.execute(
            text(
                "SELECT p.probability, p.replaced_in_revision FROM v1_predictions p"
                " WHERE p.study_key = :key ORDER BY p.instance_number"
            ),
            {"key": key},
        ).all()
    assert [row.replaced_in_revision for row in rows] == [2, None]
    assert rows[0].probability != rows[1].probability
    assert study(runtime, key)["probability"] == rows[1].probability


def test_a_study_of_which_nothing_came_is_parked_and_never_negative(runtime):
    key = expect_instances(
        "1.2.9.78", ["1.2.9.78.1"], database=runtime.database, settings=runtime.settings
    ).study_key
    row(
        runtime,
        "UPDATE study SET state = 'accepted', closed_by = 'idle_window',"
        " due_at = NULL WHERE study_key = :key"
        " RETURNING id",
        key=key,
    )
    assert process_study(key, runtime) is ProcessingOutcome.PARKED
    found = study(runtime, key)
    assert (found["verdict"], found["error_code"]) == ("failed", "NOTHING_CAME")


def test_an_age_outside_the_population_goes_with_the_result(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=5, patient_age="067Y"))
    process_study(key, runtime)
    warnings = row(
        runtime,
        "SELECT p.warnings FROM prediction p JOIN instance i ON i.id = p.instance_id"
        " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key",
        key=key,
    )["warnings"]
    assert "PATIENT_AGE_OUTSIDE_POPULATION" in warnings
    assert "1 to 5 years" in warnings


def test_a_missing_file_is_retried_then_parked_and_comes_back_by_retry(runtime, tmp_path):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=6))
    name = row(
        runtime,
        "SELECT file_name FROM instance i JOIN study s ON s.id = i.study_id"
        " WHERE s.study_key = :key",
        key=key,
    )["file_name"]
    path = runtime.storage.path_of(name)
    kept = path.read_bytes()
    path.unlink()
    ends = []
    for _ in range(3):
        make_due(runtime, key)
        ends.append(process_study(key, runtime))
    assert ends == [ProcessingOutcome.RETRY, ProcessingOutcome.RETRY, ProcessingOutcome.PARKED]
    parked = study(runtime, key)
    assert (parked["error_code"], parked["verdict"]) == ("FILE_MISSING", "failed")
    assert "PNEUMO_STATE_DIR" in parked["error_sentence"]
    assert parked["traceback_reference"]

    path.write_bytes(kept)
    with runtime.database.transaction() as session:
        assert retry_parked(session, key, actor="operator:test")
    assert process_study(key, runtime) is ProcessingOutcome.STORED


def make_due(runtime, key: str) -> None:
    """Let the delay before a retry be over."""
    with runtime.database.transaction() as session:
        session.execute(
            text("UPDATE study SET due_at = '2026-01-01 00:00:00.000000' WHERE study_key = :key"),
            {"key": key},
        )


def test_an_unforeseen_error_parks_at_once_with_a_reference_and_without_its_words(
    runtime, tmp_path, monkeypatch, caplog
):
    def fail(*_args, **_kwargs):
        raise ValueError("DOE^JANE")

    monkeypatch.setattr(pipeline, "preprocess", fail)
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=7))
    with caplog.at_level(logging.INFO):
        assert process_study(key, runtime) is ProcessingOutcome.PARKED
    parked = study(runtime, key)
    assert (parked["error_code"], parked["error_kind"]) == ("BUG", "bug")
    assert "ValueError" in parked["error_sentence"]
    assert "DOE" not in parked["error_sentence"]


def test_a_network_that_gives_no_number_parks_and_never_says_negative(
    runtime, tmp_path, monkeypatch
):
    predictor = runtime.model.predictor
    count = runtime.model.predictor._model.feature_count
    answer = torch.zeros(1, count), torch.full((1,), torch.nan)
    silent = SimpleNamespace(features_and_logits=lambda _: answer)
    monkeypatch.setattr(predictor, "_model", silent)
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=8))
    assert process_study(key, runtime) is ProcessingOutcome.PARKED
    parked = study(runtime, key)
    assert (parked["error_code"], parked["verdict"]) == ("NON_FINITE_OUTPUT", "failed")


def test_a_worker_that_was_overtaken_writes_nothing(runtime, tmp_path, monkeypatch):
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=9))
    original = pipeline.preprocess

    def lose_the_claim(*args, **kwargs):
        with runtime.database.transaction() as session:
            session.execute(
                text(
                    "UPDATE inference_run SET lease_until = '2026-01-01 00:00:00.000000'"
                    " WHERE outcome = 'running'"
                )
            )
            assert [s.key for s in sweep_expired_leases(session)] == [key]
        return original(*args, **kwargs)

    monkeypatch.setattr(pipeline, "preprocess", lose_the_claim)
    before = count(runtime, "prediction")
    assert process_study(key, runtime) is ProcessingOutcome.OVERTAKEN
    assert count(runtime, "prediction") == before
    monkeypatch.setattr(pipeline, "preprocess", original)
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    assert count(runtime, "prediction") == before + 1


@pytest.mark.parametrize("forged", ["../../etc", "1; DROP TABLE study", "", None, ["x"]])
def test_a_forged_message_is_refused_before_anything_is_touched(forged, monkeypatch):
    """What reaches the pipeline is noted: the task itself lets no exception out."""
    reached = []
    monkeypatch.setattr(pipeline, "process_study", lambda key, _: reached.append(key))
    monkeypatch.setattr("worker.pipeline.runtime.runtime", lambda: reached.append("runtime"))
    task(forged)
    assert reached == []
    task("0" * 32)
    assert reached == ["runtime", "0" * 32], "a key of ours gets there"


def test_a_bundle_that_does_not_verify_is_not_registered(runtime, tmp_path):
    with pytest.raises(Rejected, match=r"holds no manifest\.json"):
        register_bundle(runtime.database, runtime.settings, tmp_path, actor="test")


def test_registering_the_active_bundle_again_changes_nothing(runtime):
    record = register_bundle(runtime.database, runtime.settings, default_bundle(), actor="test")
    assert record == runtime.model.record


def test_a_worker_follows_the_active_model_and_keeps_the_old_one_if_it_cannot(
    runtime, tmp_path, monkeypatch
):
    first = runtime.model.record.name
    torch.manual_seed(5)
    folder = tmp_path / "resnet50-9.9.9"
    save_bundle(folder, model=build_model("resnet50"), card="# x\n", manifest=make_manifest())
    other = register_bundle(runtime.database, runtime.settings, folder, actor="test")

    def activate(name: str) -> None:
        with runtime.database.transaction() as session:
            activate_model(session, name, "test")
        runtime.models.follow()

    activate(other.name)
    assert runtime.model.record.name == other.name
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", seed=11))
    assert process_study(key, runtime) is ProcessingOutcome.STORED

    activate(first)
    assert runtime.model.record.name == first
    shutil.rmtree(runtime.settings.models_dir / other.location)
    activate(other.name)
    assert runtime.model.record.name == first, "a model that is not there is not swapped to"
    activate(first)


def test_a_late_image_leaves_earlier_predictions_as_they_are(runtime, tmp_path):
    uid = "1.2.3.77"
    early = write_instance(tmp_path / "a.dcm", study_instance_uid=uid, seed=12)
    late = write_instance(tmp_path / "b.dcm", study_instance_uid=uid, seed=13)
    key = accept_files(runtime, early)
    process_study(key, runtime)
    before = count(runtime, "prediction")
    assert accept_files(runtime, late) == key
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    assert count(runtime, "prediction") == before + 1
    found = study(runtime, key)
    highest = row(
        runtime,
        "SELECT max(p.probability) AS p FROM prediction p JOIN instance i ON i.id = p.instance_id"
        " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key",
        key=key,
    )["p"]
    assert (found["revision"], found["probability"]) == (2, highest)


def test_training_and_serving_see_the_same_tensor(tmp_path):
    """8-bit stored values through a window over all of them are what training makes of a JPEG."""
    planes = np.random.default_rng(0).integers(0, 256, (224, 224)).astype(np.uint8)
    planes[0, :2] = (0, 255)
    path = write_instance(tmp_path / "a.dcm", pixels=planes, bits_stored=8, window=(128, 256))
    spec = PreprocessingSpec()
    served = preprocess(normalise_frame(read_dataset(path), spec).pixels, spec)
    trained = standardise(torch.from_numpy(planes)[None, None].float() / 255, spec)[0]
    assert torch.equal(served, trained)
