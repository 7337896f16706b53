from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from db.ledger.heartbeats import live_workers, record_heartbeat
from db.ledger.model_registry import (
    activate_model,
    active_model,
    list_models,
    register_model,
    select_shadow,
    shadow_model,
)
from db.values import ShadowStatus
from db.vocabulary.errors import ModelConflict, ModelUnknown, ShadowIsActive
from tests.builders.database import digest, make_model, one, rows


def register(database, *args, **values):
    with database.transaction() as session:
        return register_model(session, make_model(*args, **values), actor="test")


def activate(database, name):
    with database.transaction() as session:
        return activate_model(session, name, "operator:ada")


def active(database):
    with database.transaction() as session:
        return active_model(session)


def test_a_new_installation_has_no_model(database):
    assert active(database) is None


def test_registering_again_changes_nothing(database):
    first = register(database)

    assert register(database) == first
    assert rows(database, "SELECT event FROM audit_record") == [("model_registered",)]


def test_the_same_name_with_another_bundle_is_refused(database):
    register(database)

    with pytest.raises(ModelConflict, match=r"is registered with bundle digest .* of its own"):
        register(database, bundle_digest=digest("another bundle"))


def test_the_same_bundle_under_another_name_is_refused(database):
    register(database, "resnet50-1.0.0", bundle_digest=digest("bundle"))

    with pytest.raises(ModelConflict, match=r"already registered as resnet50-1\.0\.0"):
        register(database, "resnet50-2.0.0", bundle_digest=digest("bundle"))


def test_one_version_is_active_at_any_time(database):
    register(database, "resnet50-1.0.0")
    register(database, "vgg16-1.0.0")

    assert activate(database, "resnet50-1.0.0").is_active
    assert activate(database, "vgg16-1.0.0").activated_at is not None

    assert active(database).name == "vgg16-1.0.0"
    with database.transaction() as session:
        assert [(m.name, m.is_active) for m in list_models(session)] == [
            ("resnet50-1.0.0", False),
            ("vgg16-1.0.0", True),
        ]
    detail = one(database, "SELECT detail FROM audit_record ORDER BY sequence DESC LIMIT 1")
    assert '"before":"resnet50-1.0.0","' in detail


def test_activating_the_active_one_changes_nothing(database):
    register(database)
    first = activate(database, "resnet50-1.0.0")

    assert activate(database, "resnet50-1.0.0") == first
    assert one(database, "SELECT count(*) FROM audit_record") == 2


def test_an_unknown_name_is_refused_with_those_that_there_are(database):
    register(database)

    with pytest.raises(ModelUnknown, match=r"registered are: resnet50-1\.0\.0"):
        activate(database, "alexnet")


def test_the_database_itself_allows_one_active_version(database):
    register(database, "resnet50-1.0.0")
    register(database, "vgg16-1.0.0")

    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        rows(database, "UPDATE model_version SET is_active = true")


# --- the shadow -----------------------------------------------------------------------------------


@pytest.fixture
def two_models(database):
    """resnet50-1.0.0, which is active, and vgg16-1.0.0."""
    register(database, "resnet50-1.0.0")
    register(database, "vgg16-1.0.0")
    activate(database, "resnet50-1.0.0")
    return database


def shade(database, name):
    with database.transaction() as session:
        return select_shadow(session, name, "operator:ada")


def shadow(database):
    with database.transaction() as session:
        return shadow_model(session)


def last_detail(database):
    return one(database, "SELECT detail FROM audit_record ORDER BY sequence DESC LIMIT 1")


def test_what_is_registered_is_no_shadow_by_itself(two_models):
    assert shadow(two_models) is None


def test_one_version_is_the_shadow_and_the_choice_is_audited(two_models):
    register(two_models, "vgg16-2.0.0")

    assert shade(two_models, "vgg16-1.0.0").is_shadow
    assert shade(two_models, "vgg16-2.0.0").name == "vgg16-2.0.0"

    assert shadow(two_models).name == "vgg16-2.0.0"
    assert active(two_models).name == "resnet50-1.0.0"
    events = rows(two_models, "SELECT event, actor FROM audit_record ORDER BY sequence")
    assert events[-2:] == [("shadow_selected", "operator:ada")] * 2
    assert '"before":"vgg16-1.0.0",' in last_detail(two_models)


def test_none_ends_the_shadow(two_models):
    shade(two_models, "vgg16-1.0.0")

    assert shade(two_models, None) is None

    assert shadow(two_models) is None
    assert '"before":"vgg16-1.0.0","bundle_digest":null,"model":null' in last_detail(two_models)


@pytest.mark.parametrize("name", ["vgg16-1.0.0", None])
def test_selecting_the_same_shadow_again_changes_nothing(two_models, name):
    first = shade(two_models, name)
    records = one(two_models, "SELECT count(*) FROM audit_record")

    assert shade(two_models, name) == first
    assert one(two_models, "SELECT count(*) FROM audit_record") == records


def test_the_active_version_is_no_shadow(two_models):
    with pytest.raises(ShadowIsActive, match=r"resnet50-1\.0\.0 is the active model version"):
        shade(two_models, "resnet50-1.0.0")


def test_an_unknown_shadow_is_refused_with_those_that_there_are(two_models):
    with pytest.raises(ModelUnknown, match=r"registered are: resnet50-1\.0\.0, vgg16-1\.0\.0"):
        shade(two_models, "alexnet")


def test_a_shadow_that_is_activated_is_no_shadow_any_more(two_models):
    shade(two_models, "vgg16-1.0.0")

    activated = activate(two_models, "vgg16-1.0.0")

    assert (activated.is_active, activated.is_shadow) == (True, False)
    assert shadow(two_models) is None
    assert '"was_shadow":true' in last_detail(two_models)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE model_version SET is_active = false, is_shadow = true", "unique"),
        ("UPDATE model_version SET is_shadow = true WHERE is_active", "one_role"),
    ],
    ids=["two shadows", "active and shadow"],
)
def test_the_database_itself_allows_one_shadow_that_is_not_active(two_models, statement, words):
    with pytest.raises(IntegrityError, match=f"(?i){words}"):
        rows(two_models, statement)


# --- heartbeats -----------------------------------------------------------------------------------


def test_workers_are_seen_while_they_beat(database):
    for _ in range(2):
        with database.transaction() as session:
            record_heartbeat(
                session, worker_name="w-1", lanes="stat,routine", device="cpu", model_name="m-1"
            )
    with database.transaction() as session:
        record_heartbeat(
            session, worker_name="w-2", lanes=["suspect"], device="cuda:0", model_name=None
        )
        rows_before = live_workers(session, within_s=60)

    assert [(w.worker_name, w.lanes, w.device, w.model_name) for w in rows_before] == [
        ("w-1", ("stat", "routine"), "cpu", "m-1"),
        ("w-2", ("suspect",), "cuda:0", None),
    ]
    assert rows_before[0].started_at < rows_before[0].seen_at

    with database.transaction() as session:
        assert live_workers(session, within_s=-1) == []


def test_a_worker_says_how_its_shadow_fares(database):
    status = ShadowStatus(model_name="vgg16-1.0.0", stored=3, failed=1, skipped=2)
    seen = []
    for shadow_status in (status, None):
        with database.transaction() as session:
            record_heartbeat(
                session,
                worker_name="w-1",
                lanes="stat",
                device="cpu",
                model_name="m-1",
                shadow=shadow_status,
            )
            seen += [worker.shadow for worker in live_workers(session, within_s=60)]

    assert seen == [status, None]
