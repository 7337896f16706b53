"""The shadow's rows stand apart: stored after the result, seen by one view, counted by no other."""

from __future__ import annotations

import pytest

from db.ledger.model_registry import register_model, select_shadow
from db.studies.overview import view_rows
from db.studies.shadow import store_shadow_predictions
from db.vocabulary.enums import Verdict
from tests.builders.database import (
    accept_one,
    claim_one,
    ensure_model,
    events_of,
    make_model,
    make_shadow_prediction,
    one,
    positive_outcome,
    rows,
    store,
)


def finished_with_shadow(database, *probabilities):
    """A study of one image a probability, called positive by the active model; its key, its claim."""
    active = ensure_model(database)
    with database.transaction() as session:
        register_model(session, make_model("vgg16-1.0.0", architecture="vgg16"))
        shadow = select_shadow(session, "vgg16-1.0.0", "test")
    key = accept_one(database, *range(1, len(probabilities) + 1)).study_key
    claimed = claim_one(database, key)
    store(database, claimed, positive_outcome(claimed, active, 0.9))
    predictions = [
        make_shadow_prediction(shadow, instance.id, probability)
        for instance, probability in zip(claimed.instances, probabilities, strict=True)
    ]
    shade(database, claimed, predictions)
    return key, claimed, predictions


def shade(database, claimed, predictions):
    with database.transaction() as session:
        store_shadow_predictions(session, claimed, predictions)


def agreement(database):
    with database.reading() as session:
        names, found = view_rows(session, "v1_shadow_agreement")
    return [dict(zip(names, row, strict=True)) for row in found]


def test_the_view_sets_both_models_side_by_side(database):
    key, _, _ = finished_with_shadow(database, 0.95, 0.1)

    same, other = agreement(database)

    assert {row["study_key"] for row in (same, other)} == {key}
    assert (same["active_version"], same["shadow_version"]) == ("resnet50-1.0.0", "vgg16-1.0.0")
    assert (same["instance_number"], same["frame_number"], same["agrees"]) == (1, 1, 1)
    assert (other["instance_number"], other["agrees"]) == (2, 0)
    assert (other["active_verdict"], other["shadow_verdict"]) == ("positive", "negative")
    assert other["difference"] == pytest.approx(-0.8)
    assert other["recorded_at"].tzinfo is not None


def test_what_the_shadow_would_not_assess_is_no_agreement(database):
    _, claimed, (prediction,) = finished_with_shadow(database, 0.95)
    rows(database, "DELETE FROM shadow_prediction")
    shadow_id = one(database, "SELECT id FROM model_version WHERE is_shadow")
    refused = make_shadow_prediction(
        type("Model", (), {"id": shadow_id}), prediction.instance_id, 0.95, verdict=Verdict.REJECTED
    )
    shade(database, claimed, [refused])

    (row,) = agreement(database)

    assert (row["shadow_verdict"], row["agrees"]) == ("rejected", 0)


def test_storing_twice_changes_nothing(database):
    _, claimed, predictions = finished_with_shadow(database, 0.95, 0.1)
    before = rows(database, "SELECT * FROM shadow_prediction ORDER BY id")

    shade(database, claimed, predictions)

    assert rows(database, "SELECT * FROM shadow_prediction ORDER BY id") == before


def test_no_result_and_no_other_view_knows_of_it(database):
    key, _, _ = finished_with_shadow(database, 0.1)

    with database.reading() as session:
        names, found = view_rows(session, "v1_predictions")
    versions = {row[names.index("model_version")] for row in found}

    assert versions == {"resnet50-1.0.0"}
    assert one(database, "SELECT probability FROM v1_studies") == 0.9
    assert "shadow" not in " ".join(events_of(database, key))
