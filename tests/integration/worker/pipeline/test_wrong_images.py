"""What is unlike the training set gets no score: by the packaged models, on real pictures."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.builders.dicom import write_instance
from worker.inference.assessment import NOT_ASSESSED
from worker.intake.accept import accept_study
from worker.model.bundle import load_bundle, packaged_bundles
from worker.pipeline.process_study import ProcessingOutcome, process_study


@pytest.fixture(scope="module", params=["refuse", "warn"])
def runtime(start, request):
    return start(wrong_images=request.param, shadow=False)


def processed(runtime, path) -> str:
    key = accept_study([path], database=runtime.database, site=runtime.settings).study_key
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    return key


def found(runtime, key: str):
    asked = text(
        "SELECT s.verdict, i.refusal_code, i.refusal_found, i.refusal_step, p.distance, p.warnings"
        " FROM study s JOIN instance i ON i.study_id = s.id"
        " LEFT JOIN prediction p ON p.instance_id = i.id WHERE s.study_key = :key"
    )
    with runtime.database.transaction() as session:
        return session.execute(asked, {"key": key}).one()


def test_a_drawn_picture_is_not_assessed_or_warned_of(runtime, tmp_path):
    it = found(runtime, processed(runtime, write_instance(tmp_path / "drawn.dcm", seed=1)))
    if runtime.settings.wrong_images == "refuse":
        assert (it.verdict, it.refusal_code, it.refusal_step) == (
            "rejected",
            NOT_ASSESSED,
            "assess",
        )
        assert it.refusal_found.startswith("a distance of ")
        assert it.distance is None, "no score, so no prediction"
    else:
        assert it.refusal_code is None
        assert it.distance > runtime.model.assessment.cut_off
        assert NOT_ASSESSED in it.warnings


def test_a_real_chest_is_assessed_and_its_distance_kept(runtime, sample):
    it = found(runtime, processed(runtime, sample("RG1_JLSN.dcm")))
    assert it.verdict in {"positive", "negative"}
    assert 0 < it.distance <= runtime.model.assessment.cut_off
    assert NOT_ASSESSED not in it.warnings


@pytest.mark.parametrize("folder", packaged_bundles(), ids=lambda folder: folder.name)
def test_a_packaged_model_refuses_what_is_no_upright_radiograph(folder):
    figures = load_bundle(folder).manifest.metrics["wrong_image_guard"]
    assert figures["unseen radiographs"]["refused"] <= 0.02
    wrong = ["radiographs turned by 90 degrees", "inverted radiographs", "photographs", "noise",
             "blank", "hip, tibia and mammogram (DICOM)"]  # fmt: skip
    assert all(figures[kind]["refused"] >= 0.95 for kind in wrong)
