"""Results are compared with what the trail recorded: whatever a row says otherwise is named."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from db.ledger.identity import erase_identity
from db.ledger.model_registry import activate_model, register_model, select_shadow
from db.ledger.models_check import model_differences
from db.ledger.results_check import ResultsCheck
from db.studies.intake import accept
from db.studies.results import retry_parked
from tests.builders.database import (
    accept_many,
    accept_one,
    claim_one,
    crash_worker,
    digest,
    ensure_model,
    finish_one,
    make_instance,
    make_model,
    make_study,
    one,
    park_study,
    positive_outcome,
    rejected_outcome,
    store,
    uid_of,
    without_triggers,
)


def differences(database):
    with database.reading() as session:
        return [*model_differences(session), *ResultsCheck(session).differences()]


def named(database):
    return {(found.what.split(" ")[0], found.field) for found in differences(database)}


def refuse_one(database, **values):
    accepted = accept_one(database, **values)
    claimed = claim_one(database, accepted.study_key)
    store(database, claimed, rejected_outcome(claimed))
    return accepted.study_key


@pytest.fixture
def full(database):
    """A site on which everything that the trail can say was done once."""
    finish_one(database, 1, 2, uid=uid_of(1))
    refuse_one(database, uid=uid_of(2))
    key = accept_one(database, uid=uid_of(3)).study_key
    park_study(database, claim_one(database, key))
    with database.transaction() as session:
        register_model(session, make_model("vgg16-1.0.0"))
        select_shadow(session, "vgg16-1.0.0", "test")
    return database


def tamper(database, sql, **values):
    with without_triggers(database) as connection:
        assert connection.execute(text(sql), values).rowcount > 0


def test_a_site_where_everything_was_done_has_no_difference(full):
    accept_many(full, 2)
    erased = finish_one(full, uid=uid_of(10))
    with full.transaction() as session:
        assert erase_identity(session, erased, "test")
        activate_model(session, "vgg16-1.0.0", "test")
    crashing = accept_one(full, uid=uid_of(11)).study_key
    for _ in range(4):
        crash_worker(full, crashing)
    with full.transaction() as session:
        assert retry_parked(session, crashing, actor="test")
    assert differences(full) == []


def test_a_study_that_was_revised_and_read_again_has_no_difference(full):
    other = make_instance(1, uid=uid_of(1), content="second")
    for study in (
        make_study(3, uid=uid_of(1)),
        make_study(uid=uid_of(1), instances=[other]),
        make_study(uid=uid_of(2), instances=[make_instance(4, uid=uid_of(2))]),
    ):
        with full.transaction() as session:
            key = accept(session, study).study_key
        assert differences(full) == []
        claimed = claim_one(full, key)
        assert differences(full) == []
        store(full, claimed, positive_outcome(claimed, ensure_model(full)))
        assert differences(full) == []


CHANGES = {
    "UPDATE prediction SET verdict = 'negative' WHERE id = 1": ("prediction", "verdict"),
    "UPDATE prediction SET probability = 0.123 WHERE id = 1": ("prediction", "probability"),
    "UPDATE prediction SET logit = 0 WHERE id = 1": ("prediction", "logit"),
    "UPDATE prediction SET threshold = 0.1 WHERE id = 1": ("prediction", "threshold"),
    "UPDATE prediction SET device = 'tpu' WHERE id = 1": ("prediction", "device"),
    "UPDATE prediction SET warnings = '[]' WHERE id = 1": ("prediction", "row_sha256"),
    "UPDATE prediction SET frame_number = 7 WHERE id = 1": ("prediction", "row"),
    "DELETE FROM prediction WHERE id = 1": ("prediction", "row"),
    "UPDATE study SET verdict = 'negative' WHERE verdict = 'positive'": ("study", "verdict"),
    "UPDATE study SET probability = 0.5 WHERE verdict = 'positive'": ("study", "probability"),
    "UPDATE study SET threshold = 0.5 WHERE verdict = 'positive'": ("study", "threshold"),
    "UPDATE study SET state = 'accepted' WHERE verdict = 'positive'": ("study", "state"),
    "UPDATE study SET state = 'done' WHERE state = 'parked'": ("study", "state"),
    "UPDATE study SET error_code = 'Y' WHERE state = 'parked'": ("study", "code"),
    "UPDATE study SET study_instance_uid = '1.2.3' WHERE verdict = 'positive'": (
        "study",
        "row_sha256",
    ),
    "UPDATE instance SET sop_instance_uid = '1.2.3' WHERE id = 1": ("images", "images_sha256"),
    "UPDATE instance SET refusal_code = 'X' WHERE state = 'refused'": ("refusal", "code"),
    "UPDATE instance SET refusal_sentence = 'X' WHERE state = 'refused'": ("refusal", "row_sha256"),
    "DELETE FROM instance WHERE state = 'refused'": ("refusal", "row"),
    "UPDATE model_version SET bundle_digest = 'x' WHERE id = 1": ("model", "bundle_digest"),
    "UPDATE model_version SET threshold = 0.9 WHERE id = 1": ("model", "threshold"),
    "UPDATE model_version SET is_shadow = false WHERE is_shadow": ("model", "is_shadow"),
    "DELETE FROM model_version WHERE is_shadow": ("model", "row"),
}


@pytest.mark.parametrize("sql", CHANGES)
def test_a_changed_row_is_named_with_its_field(full, sql):
    tamper(full, sql)
    assert CHANGES[sql] in named(full)


def test_an_added_prediction_is_named(full):
    tamper(
        full,
        "INSERT INTO prediction (instance_id, inference_run_id, model_version_id, frame_number,"
        " preprocessing_version, logit, probability, threshold, verdict, device, normalisation,"
        " warnings, recorded_at) SELECT instance_id, inference_run_id, model_version_id, 2,"
        " preprocessing_version, logit, probability, threshold, verdict, device, normalisation,"
        " warnings, recorded_at FROM prediction WHERE id = 1",
    )
    assert named(full) == {("prediction", "row")}


def test_a_removed_study_is_named_by_its_key_alone(full):
    key = one(full, "SELECT study_key FROM study WHERE state = 'parked'")
    for table in ("inference_run", "study_identity", "instance"):
        tamper(
            full,
            f"DELETE FROM {table} WHERE study_id = (SELECT id FROM study WHERE study_key = :k)",
            k=key,
        )
    tamper(full, "DELETE FROM study WHERE study_key = :k", k=key)
    (found,) = differences(full)
    assert str(found) == (
        f"Study {key}, study: row was recorded as present, and the row has absent."
    )


def test_an_identity_that_comes_back_after_its_erasure_is_named(full):
    key = one(full, "SELECT study_key FROM study WHERE verdict = 'positive'")
    with full.transaction() as session:
        erase_identity(session, key, "test")
    tamper(
        full,
        "INSERT INTO study_identity (study_id, patient_id, recorded_at)"
        " SELECT id, 'SECRET', received_at FROM study WHERE study_key = :k",
        k=key,
    )
    (found,) = differences(full)
    assert (found.what, found.recorded, found.found) == ("identity", "erased", "present")
    assert "SECRET" not in str(found)


def test_a_value_that_no_reader_accepts_is_a_difference_and_ends_nothing(full):
    tamper(full, "UPDATE prediction SET normalisation = '[1, NaN]' WHERE id = 1") if (
        full.engine.dialect.name == "sqlite"
    ) else tamper(full, "UPDATE prediction SET normalisation = '[1, 2]' WHERE id = 1")
    tamper(full, "UPDATE study SET verdict = 'negative' WHERE verdict = 'rejected'")
    assert {("prediction", "row_sha256"), ("study", "verdict")} <= named(full)


def test_records_of_an_earlier_version_are_counted_and_their_fields_compared(full):
    """Before digests were recorded a detail held the scores alone."""
    with without_triggers(full) as connection:
        for record in connection.execute(text("SELECT id, detail FROM audit_record")).all():
            import json

            detail = json.loads(record.detail)
            for name in ("row_sha256", "images_sha256", "finished_at", "destinations"):
                detail.pop(name, None)
            connection.execute(
                text("UPDATE audit_record SET detail = :d WHERE id = :i"),
                {"d": json.dumps(detail), "i": record.id},
            )
    with full.reading() as session:
        check = ResultsCheck(session)
        assert list(check.differences()) == []
    assert (check.studies, check.before_digests) == (3, 6)
    tamper(full, "UPDATE prediction SET probability = 0.5 WHERE id = 1")
    assert named(full) == {("prediction", "probability")}


def test_progress_counts_every_study(full):
    accept_many(full, 5)
    steps = []
    with full.reading() as session:
        check = ResultsCheck(session, steps.append)
        list(check.differences())
    assert sum(steps) == check.studies == 5


def test_digests_do_not_depend_on_the_database():
    """These digits are in the trails of sites: they must never change."""
    from datetime import UTC, datetime

    from db.ledger.row_digests import prediction_digest, refusal_digest

    at = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
    assert prediction_digest({"b": 1.5, "a": ("é",)}, ["W"], at) == digest(
        '[{"a":["\\u00e9"],"b":1.5},["W"],"2026-01-02T03:04:05.000600+00:00"]'
    )
    assert refusal_digest("TIBIA", None, "X.") == digest('["TIBIA",null,"X."]')
