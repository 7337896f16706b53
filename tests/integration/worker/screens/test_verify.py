"""`pneumo verify`: a recorded prediction comes out again, and whatever was changed is named."""

from __future__ import annotations

import io
import itertools
import json
import shutil

import pytest
from rich.console import Console
from sqlalchemy import text

from db.ledger.audit import verify_chains
from db.ledger.model_registry import activate_model
from tests.builders.dicom import write_instance
from tests.builders.worker_runtime import accept_files, query_rows, random_network, write_bundle
from worker.errors import Rejected
from worker.inference.active_model import register_bundle
from worker.pipeline.process_study import process_study
from worker.screens.verify import verify_predictions

SEEDS = itertools.count(5000, 2)
"""Each test has images of its own: the runtime is shared by all of them."""


@pytest.fixture
def study(runtime, tmp_path):
    """A finished study of two images, both predicted."""
    seed = next(SEEDS)
    key = accept_files(
        runtime,
        write_instance(tmp_path / "a.dcm", seed=seed, study_instance_uid=f"1.2.9.{seed}"),
        write_instance(tmp_path / "b.dcm", seed=seed + 1, study_instance_uid=f"1.2.9.{seed}"),
    )
    process_study(key, runtime)
    assert len(predictions_of(runtime, key)) == 2
    return key


def predictions_of(runtime, key):
    return query_rows(
        runtime,
        "SELECT p.*, i.file_name FROM prediction p JOIN instance i ON i.id = p.instance_id"
        " JOIN study s ON s.id = i.study_id WHERE s.study_key = :key ORDER BY p.id",
        key=key,
    )


def verified(runtime, named, **options):
    console = Console(width=200, file=io.StringIO(), record=True)
    code = verify_predictions(runtime.settings, named, console=console, **options)
    return code, console.export_text()


def audited(runtime, key):
    found = query_rows(
        runtime,
        "SELECT actor, detail FROM audit_record WHERE study_key = :key"
        " AND event = 'prediction_verified' ORDER BY sequence",
        key=key,
    )
    return [(row["actor"], json.loads(row["detail"])) for row in found]


def change(runtime, prediction, column, value):
    with runtime.database.transaction() as session:
        session.execute(
            text(f"UPDATE prediction SET {column} = :value WHERE id = :id"),
            {"value": value, "id": prediction["id"]},
        )


def test_a_study_comes_out_equal_and_the_trail_says_who_asked(runtime, study):
    code, said = verified(runtime, study)

    assert code == 0
    assert said.count("equal") == 2
    assert [detail["outcome"] for _, detail in audited(runtime, study)] == ["equal", "equal"]
    assert all(actor.startswith("operator:") for actor, _ in audited(runtime, study))
    with runtime.database.reading() as session:
        assert verify_chains(session).ok


def test_one_instance_or_one_prediction_is_enough(runtime, study):
    _, second = predictions_of(runtime, study)

    assert verified(runtime, study[:12], instance=2)[0] == 0
    assert verified(runtime, f"p{second['id']}")[0] == 0

    details = [detail for _, detail in audited(runtime, study)]
    assert [detail["frame"] for detail in details] == [1, 1]
    assert len({detail["file_sha256"] for detail in details}) == 1


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("logit", lambda p: p["logit"] + 0.01, "logit"),
        ("probability", lambda p: p["probability"] * 0.999, "probability"),
        ("threshold", lambda p: p["threshold"] / 2, "threshold"),
        ("verdict", lambda p: "negative" if p["verdict"] == "positive" else "positive", "verdict"),
        ("preprocessing_version", lambda _: "0", "preprocessing"),
        (
            "normalisation",
            lambda p: json.dumps({**json.loads(p["normalisation"]), "inverted": "perhaps"}),
            "normalisation.inverted",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_figure_is_named(runtime, study, column, value, named):
    first, _ = predictions_of(runtime, study)
    change(runtime, first, column, value(first))

    code, said = verified(runtime, f"p{first['id']}")

    assert code == 1
    assert "differs" in said
    assert f"p{first['id']} {named}: recorded" in said
    assert audited(runtime, study)[-1][1]["differences"] == [named]


def test_figures_of_another_device_are_equal_within_a_tolerance(runtime, study):
    first, _ = predictions_of(runtime, study)
    change(runtime, first, "logit", first["logit"] + 1e-5)

    code, said = verified(runtime, f"p{first['id']}")

    assert (code, "equal within tolerance" in said) == (0, True)


def test_another_file_under_the_same_name_is_found(runtime, study):
    first, second = predictions_of(runtime, study)
    folder = runtime.settings.intake_dir
    shutil.copy(folder / second["file_name"], folder / first["file_name"])

    code, said = verified(runtime, study, instance=1)

    assert code == 1
    assert "file_sha256: recorded" in said
    assert " logit: recorded" in said


def test_a_removed_or_missing_file_is_told_by_its_code(runtime, study):
    first, second = predictions_of(runtime, study)
    with runtime.database.transaction() as session:
        session.execute(
            text("UPDATE instance SET file_removed_at = received_at WHERE id = :id"),
            {"id": first["instance_id"]},
        )
    (runtime.settings.intake_dir / second["file_name"]).unlink()

    code, said = verified(runtime, study)

    assert code == 1
    assert "FILE_REMOVED The retention rule has removed" in said
    assert "FILE_MISSING The file that this prediction was made from" in said
    codes = [detail["code"] for _, detail in audited(runtime, study)]
    assert codes == ["FILE_REMOVED", "FILE_MISSING"]


def test_the_recorded_version_is_replayed_whichever_is_active(runtime, study, tmp_path):
    bundle = write_bundle(tmp_path, random_network(2), model_version="9.0.1")
    before = runtime.model.record.name
    newer = register_bundle(runtime.database, runtime.settings, bundle, actor="test").name
    activate(runtime, newer)
    try:
        code, said = verified(runtime, study)
        assert (code, before in said, newer in said) == (0, True, False)
    finally:
        activate(runtime, before)


def activate(runtime, name):
    with runtime.database.transaction() as session:
        activate_model(session, name, "test")


def test_a_bundle_that_is_not_here_is_told_by_its_code(runtime, study):
    models = runtime.settings.models_dir
    away = models.with_name("models-away")
    models.rename(away)
    try:
        code, said = verified(runtime, study, instance=1)
    finally:
        away.rename(models)
    assert code == 1
    assert "MODEL_BUNDLE_MISSING" in said


def test_what_does_not_exist_is_refused(runtime, study):
    for named, options in (("p999999999", {}), (study, {"instance": 3})):
        with pytest.raises(Rejected, match=r"PREDICTION_UNKNOWN.*There is no such prediction"):
            verified(runtime, named, **options)
    with pytest.raises(Rejected, match="STUDY_UNKNOWN"):
        verified(runtime, "f" * 32)
