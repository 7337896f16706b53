"""Which model is the shadow, what it is handed, and that nobody waits for it."""

from __future__ import annotations

import threading

import pytest

from db.ledger.model_registry import activate_model, select_shadow
from tests.builders.dicom import make_study, write_instance
from tests.builders.waiting import scaled, wait_until
from tests.builders.worker_runtime import (
    accept_files,
    make_settings,
    query_rows,
    random_network,
    start_runtime,
    write_bundle,
)
from worker.imaging.preprocessing import PreprocessingSpec
from worker.inference import active_model
from worker.pipeline import process_study as pipeline
from worker.pipeline.process_study import ProcessingOutcome, process_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shadow")


@pytest.fixture(scope="module")
def bundles(folder):
    """The active one, and its shadow."""
    return (
        write_bundle(folder, random_network(1), model_version="1.0.0"),
        write_bundle(folder, random_network(2), model_version="2.0.0", threshold=0.6),
    )


@pytest.fixture(scope="module")
def runtime(start, bundles):
    return start(*bundles)


def processed(runtime, *paths):
    """The key of a study that was stored, once the shadow has done its part."""
    key = accept_files(runtime, *paths)
    before = runtime.model.shadow.status() if runtime.model.shadow else None
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    if before:
        wait_until(lambda: runtime.model.shadow.status() != before, within_s=60)
    return key


def logits_of(runtime, table, model):
    """Logits of a model version in a table, in order."""
    rows = query_rows(
        runtime,
        f"SELECT p.logit FROM {table} p JOIN model_version m ON m.id = p.model_version_id"
        " WHERE m.name = :model ORDER BY p.id",
        model=model,
    )
    return [row["logit"] for row in rows]


def test_the_shadow_says_what_it_would_have_said_as_the_active_model(runtime, folder, tmp_path):
    processed(runtime, write_instance(tmp_path / "a.dcm", seed=1))
    alone = start_runtime(
        make_settings(folder / "alone"), runtime.settings.models_dir / "resnet50-2.0.0"
    )
    try:
        processed(alone, write_instance(tmp_path / "b.dcm", seed=1))
        expected = logits_of(alone, "prediction", "resnet50-2.0.0")
    finally:
        alone.close()
    assert logits_of(runtime, "shadow_prediction", "resnet50-2.0.0") == expected


def test_of_a_large_study_the_shadow_sees_the_first_frames(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "FRAMES_FOR_SHADOW", 2)
    before = len(logits_of(runtime, "shadow_prediction", "resnet50-2.0.0"))
    key = processed(runtime, *make_study(tmp_path, 3, seed=31))
    shown = len(logits_of(runtime, "shadow_prediction", "resnet50-2.0.0")) - before
    counted = query_rows(runtime, "SELECT * FROM v1_predictions WHERE study_key = :key", key=key)
    assert (shown, len(counted)) == (2, 3)


def test_a_shadow_that_is_behind_is_not_waited_for(runtime, tmp_path, monkeypatch):
    let_go = threading.Event()
    shadow = runtime.model.shadow
    monkeypatch.setattr(shadow._predictor, "predict", lambda _: let_go.wait(scaled(60)) and [])
    monkeypatch.setattr(shadow._waiting, "maxsize", 1)
    skipped = shadow.status().skipped
    try:
        for seed in range(3, 6):  # one in hand, one waiting, one too many
            key = accept_files(runtime, write_instance(tmp_path / f"{seed}.dcm", seed=seed))
            assert process_study(key, runtime) is ProcessingOutcome.STORED
        assert shadow.status().skipped > skipped
    finally:
        let_go.set()
    (row,) = query_rows(runtime, "SELECT state FROM v1_studies WHERE study_key = :key", key=key)
    assert row["state"] == "done"


def test_a_shadow_that_is_activated_predicts_alone(runtime):
    with runtime.database.transaction() as session:
        activate_model(session, "resnet50-2.0.0", "test")
    runtime.models.follow()
    assert (runtime.model.record.name, runtime.model.shadow) == ("resnet50-2.0.0", None)
    with runtime.database.transaction() as session:
        activate_model(session, "resnet50-1.0.0", "test")
        select_shadow(session, "resnet50-2.0.0", "test")
    runtime.models.follow()
    assert runtime.model.shadow.record.name == "resnet50-2.0.0"


def test_a_shadow_of_another_input_size_is_not_run(folder, bundles, tmp_path):
    """It is handed the active model's tensors, which would mean something else to it."""
    larger = PreprocessingSpec(size=256)
    other = write_bundle(folder, random_network(3), model_version="3.0.0", preprocessing=larger)
    runtime = start_runtime(make_settings(tmp_path / "site"), bundles[0], other)
    try:
        assert runtime.model.shadow is None
    finally:
        runtime.close()


def test_a_shadow_for_which_memory_does_not_suffice_stops_no_worker(bundles, tmp_path, monkeypatch):
    made = active_model.Predictor

    def fits_once(bundle, **values):
        if bundle.manifest.model_version == "2.0.0":
            raise MemoryError
        return made(bundle, **values)

    monkeypatch.setattr(active_model, "Predictor", fits_once)
    runtime = start_runtime(make_settings(tmp_path / "site"), *bundles)
    try:
        assert runtime.model.shadow is None
        processed(runtime, write_instance(tmp_path / "a.dcm", seed=9))
    finally:
        runtime.close()


def test_a_worker_may_be_spared_the_shadow(bundles, tmp_path):
    runtime = start_runtime(make_settings(tmp_path / "site", shadow=False), *bundles)
    try:
        assert runtime.model.shadow is None
    finally:
        runtime.close()
