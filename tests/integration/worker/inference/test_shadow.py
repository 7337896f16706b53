"""The shadow says what it would have said, in rows of its own, and can harm nothing."""

from __future__ import annotations

import pytest
import torch
from sqlalchemy import text

from db.ledger.model_registry import select_shadow
from tests.builders.bundles import make_guard, make_manifest
from tests.builders.dicom import write_instance
from tests.builders.waiting import wait_until
from worker.inference.active_model import register_bundle
from worker.intake.accept import accept_study
from worker.model.architectures import build_model
from worker.model.bundle import save_bundle
from worker.pipeline.process_study import ProcessingOutcome, process_study


@pytest.fixture(scope="module")
def runtime(start):
    return start(wrong_images="warn", shadow=True)


@pytest.fixture(scope="module")
def other(runtime, tmp_path_factory):
    torch.manual_seed(3)
    model = build_model("resnet50")
    folder = tmp_path_factory.mktemp("bundle") / "resnet50-9.9.9"
    save_bundle(
        folder, model=model, card="# x\n", manifest=make_manifest(),
        reference=make_guard(model, cut_off=1e9).to_reference(),
    )  # fmt: skip
    return register_bundle(runtime.database, runtime.settings, folder, actor="test")


def select(runtime, name) -> None:
    with runtime.database.transaction() as session:
        select_shadow(session, name, "test")
    runtime.models.follow()


def processed(runtime, path) -> str:
    key = accept_study([path], database=runtime.database, site=runtime.settings).study_key
    assert process_study(key, runtime) is ProcessingOutcome.STORED
    return key


def rows(runtime, key: str, table: str):
    asked = text(
        f"SELECT p.*, m.name AS model FROM {table} p JOIN instance i ON i.id = p.instance_id"
        " JOIN model_version m ON m.id = p.model_version_id"
        " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key"
    )
    with runtime.database.transaction() as session:
        return session.execute(asked, {"key": key}).mappings().all()


def test_both_speak_each_in_its_own_table(runtime, other, tmp_path):
    select(runtime, other.name)
    assert runtime.model.shadow is not None
    key = processed(runtime, write_instance(tmp_path / "a.dcm", seed=21))
    wait_until(lambda: runtime.model.shadow.status().stored == 1, within_s=60)
    (active,), (shadow,) = rows(runtime, key, "prediction"), rows(runtime, key, "shadow_prediction")
    assert (active["model"], shadow["model"]) == (runtime.model.record.name, other.name)
    assert shadow["threshold"] == other.threshold
    with runtime.database.transaction() as session:
        (agreement,) = session.execute(
            text("SELECT * FROM v1_shadow_agreement WHERE study_key = :key"), {"key": key}
        ).mappings()
    assert agreement["study_key"] == key


def test_a_shadow_that_fails_is_counted_and_touches_nothing(runtime, other, tmp_path, monkeypatch):
    select(runtime, other.name)

    def fail(_batch):
        raise RuntimeError

    monkeypatch.setattr(runtime.model.shadow._predictor, "predict", fail)
    before = runtime.model.shadow.status().failed
    key = processed(runtime, write_instance(tmp_path / "b.dcm", seed=22))
    wait_until(lambda: runtime.model.shadow.status().failed == before + 1, within_s=60)
    assert len(rows(runtime, key, "prediction")) == 1
    assert rows(runtime, key, "shadow_prediction") == []


def test_without_a_shadow_nobody_speaks_beside(runtime, other, tmp_path):
    select(runtime, None)
    assert runtime.model.shadow is None
    key = processed(runtime, write_instance(tmp_path / "c.dcm", seed=23))
    assert rows(runtime, key, "shadow_prediction") == []


def test_a_shadow_that_cannot_be_loaded_leaves_the_active_model_at_work(
    runtime, other, tmp_path, monkeypatch
):
    import shutil

    kept = runtime.settings.models_dir / other.location
    shutil.move(kept, tmp_path / "away")
    select(runtime, other.name)
    assert runtime.model.shadow is None
    processed(runtime, write_instance(tmp_path / "d.dcm", seed=24))
    shutil.move(tmp_path / "away", kept)
