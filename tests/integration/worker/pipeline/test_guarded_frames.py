"""What the guard leaves out, frame by frame, with a guard whose line a test has drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from db.studies.overview import study_detail
from tests.builders.dicom import chest_like_pixels, write_instance
from tests.builders.worker_runtime import (
    accept_files,
    features_of,
    guard_around,
    query_rows,
    random_network,
    start_runtime,
    write_bundle,
)
from worker.imaging.policy import MultiFrame
from worker.inference.assessment import NOT_ASSESSED
from worker.pipeline.process_study import ProcessingOutcome, process_study

UPRIGHT = chest_like_pixels(160, 160)
TURNED = np.rot90(UPRIGHT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guard")


@pytest.fixture(scope="module")
def guard(folder):
    """Drawn half-way between an upright and a turned picture."""
    like = write_instance(folder / "like.dcm", pixels=UPRIGHT)
    unlike = write_instance(folder / "unlike.dcm", pixels=TURNED)
    return guard_around(random_network(1), like, unlike)


@pytest.fixture(scope="module")
def runtime(start, folder, guard):
    return start(write_bundle(folder, random_network(1), guard))


def instances_of(runtime, key):
    with runtime.database.reading() as session:
        return study_detail(session, key).instances


def test_a_study_with_nothing_else_is_rejected_with_the_distance(runtime, guard, tmp_path):
    path = write_instance(tmp_path / "a.dcm", pixels=TURNED)
    key = accept_files(runtime, path)

    assert process_study(key, runtime) is ProcessingOutcome.STORED

    with runtime.database.reading() as session:
        detail = study_detail(session, key)
    summary, (instance,) = detail.summary, detail.instances
    assert (summary.verdict, summary.probability, summary.threshold) == ("rejected", None, None)
    assert (instance.refusal.code, instance.refusal.step) == (NOT_ASSESSED, "assess")
    assert instance.predictions == ()
    distance = guard.distance(features_of(random_network(1), path)[None]).item()
    said = float(instance.refusal.found.removeprefix("a distance of "))
    assert said == pytest.approx(distance, rel=2e-3), "the bundle's numbers are halves"
    assert instance.refusal.expected == f"at most {guard.cut_off:.3f}"
    assert instance.refusal.found in instance.refusal.sentence
    assert NOT_ASSESSED in [record.detail.get("code") for record in detail.audit]


def test_its_neighbours_in_the_study_are_predicted_with_their_distance(runtime, guard, tmp_path):
    uid = "1.2.3.4"
    key = accept_files(
        runtime,
        write_instance(tmp_path / "a.dcm", pixels=UPRIGHT, study_instance_uid=uid),
        write_instance(tmp_path / "b.dcm", pixels=TURNED, study_instance_uid=uid),
    )

    process_study(key, runtime)

    upright, turned = instances_of(runtime, key)
    (prediction,) = upright.predictions
    assert prediction.distance < guard.cut_off
    assert (turned.state, turned.refusal.code) == ("refused", NOT_ASSESSED)
    view = "SELECT distance, verdict FROM v1_predictions WHERE study_key = :key"
    (row,) = query_rows(runtime, view, key=key)
    assert row == {"distance": prediction.distance, "verdict": prediction.verdict.value}


def test_a_frame_that_is_left_out_is_named_beside_the_others(runtime, tmp_path, monkeypatch):
    every = replace(runtime.model.policy, multi_frame=MultiFrame.EVERY)
    monkeypatch.setattr(runtime.models, "current", replace(runtime.model, policy=every))
    frames = np.stack([TURNED, UPRIGHT])
    key = accept_files(runtime, write_instance(tmp_path / "a.dcm", pixels=frames))

    process_study(key, runtime)

    (instance,) = instances_of(runtime, key)
    (prediction,) = instance.predictions
    assert (prediction.frame_number, instance.refusal) == (2, None)
    warned = {warning["code"]: warning["sentence"] for warning in prediction.warnings}
    assert warned[NOT_ASSESSED].endswith("not assessed as unlike the training set: frame 1.")


def test_a_model_without_a_guard_assesses_what_another_left_out(runtime, folder, tmp_path):
    uid = "1.2.3.5"
    turned = write_instance(tmp_path / "a.dcm", pixels=TURNED, study_instance_uid=uid)
    key = accept_files(runtime, turned)
    process_study(key, runtime)
    unguarded = start_runtime(
        runtime.settings, write_bundle(folder, random_network(2), model_version="9.9.10")
    )
    try:
        late = write_instance(tmp_path / "b.dcm", pixels=UPRIGHT, study_instance_uid=uid)
        assert accept_files(unguarded, late) == key
        assert process_study(key, unguarded) is ProcessingOutcome.STORED
    finally:
        unguarded.close()

    rows = query_rows(
        runtime,
        "SELECT model_version, distance FROM v1_predictions WHERE study_key = :key",
        key=key,
    )
    assert rows == [{"model_version": "resnet50-9.9.10", "distance": None}] * 2
