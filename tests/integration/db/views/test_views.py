"""The figures of the views on a small set that was worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from db.studies.intake import announce
from db.studies.overview import VIEWS, view_rows
from db.studies.results import park
from db.values import InstanceOutcome, StudyOutcome
from db.views import view_text
from db.vocabulary.enums import Priority, Source, Verdict
from tests.builders import deliveries as delivery_builders
from tests.builders.database import (
    THRESHOLD,
    accept_one,
    claim_one,
    ensure_model,
    finish_one,
    make_failure,
    make_instance,
    make_prediction,
    make_refusal,
    predict_by_shadow,
    rejected_outcome,
    rows,
    store,
    uid_of,
)

ROOT = Path(__file__).resolve().parents[4]
VIEW_FOLDER = ROOT / "db" / "views"


def view(database, name):
    """Rows of a view as dictionaries, in its reading order."""
    with database.reading() as session:
        names, found = view_rows(session, name)
    return [dict(zip(names, row, strict=True)) for row in found]


def reject_one(database, number, code, **values):
    key = accept_one(database, uid=uid_of(number), **values).study_key
    claimed = claim_one(database, key)
    store(database, claimed, rejected_outcome(claimed, code))
    return key


@pytest.fixture
def small_site(database):
    """One study of each kind: positive, mixed, rejected twice, parked, waiting."""
    model = ensure_model(database)
    keys = {
        "positive": finish_one(
            database,
            uid=uid_of(1),
            probability=0.9,
            patient_sex="F",
            patient_age_years=93.5,
            site_ae_title="NORTH",
            source=Source.CLI,
        )
    }
    mixed = accept_one(
        database,
        instances=[
            make_instance(1, uid=uid_of(2), view_position="AP", manufacturer="OTHER"),
            make_instance(2, uid=uid_of(2), body_part="TIBIA", view_position=None),
        ],
        uid=uid_of(2),
        patient_age_years=0.5,
        priority=Priority.STAT,
    )
    claimed = claim_one(database, mixed.study_key)
    predicted, refused = claimed.instances
    store(
        database,
        claimed,
        StudyOutcome(
            verdict=Verdict.NEGATIVE,
            probability=0.1,
            threshold=THRESHOLD,
            model_version_id=model.id,
            instances=(
                InstanceOutcome(
                    instance_id=predicted.id,
                    predictions=(make_prediction(model, 0.1, distance=1.25),),
                ),
                InstanceOutcome(instance_id=refused.id, refusal=make_refusal()),
            ),
        ),
    )
    keys["mixed"] = mixed.study_key
    predict_by_shadow(database, keys["positive"], 0.2)
    predict_by_shadow(database, keys["mixed"], 0.1)
    keys["rejected"] = reject_one(database, 3, "NOT_A_CHEST")
    keys["truncated"] = reject_one(database, 4, "FILE_TRUNCATED")
    keys["parked"] = accept_one(database, uid=uid_of(5)).study_key
    claimed = claim_one(database, keys["parked"])
    with database.transaction() as session:
        park(session, claimed, make_failure(code="BUG"))
    keys["waiting"] = accept_one(database, uid=uid_of(6)).study_key
    return database, keys


def test_studies(small_site):
    database, keys = small_site
    by_key = {row["study_key"]: row for row in view(database, "v1_studies")}
    assert len(by_key) == 6

    positive = by_key[keys["positive"]]
    assert positive["verdict"] == "positive"
    assert (positive["probability"], positive["threshold"]) == (0.9, THRESHOLD)
    assert positive["model_version"] == "resnet50-1.0.0"
    assert (positive["patient_sex"], positive["patient_age_years"]) == ("F", 90)
    assert (positive["site_ae_title"], positive["source"]) == ("NORTH", "cli")
    assert (positive["instances"], positive["predicted_instances"]) == (1, 1)
    assert positive["finished_at"].tzinfo is not None

    mixed = by_key[keys["mixed"]]
    assert (mixed["instances"], mixed["predicted_instances"], mixed["refused_instances"]) == (
        2,
        1,
        1,
    )
    assert (mixed["priority"], mixed["lane"], mixed["patient_age_years"]) == ("stat", "stat", 0.5)

    verdicts = {name: by_key[key]["verdict"] for name, key in keys.items()}
    assert verdicts == {
        "positive": "positive",
        "mixed": "negative",
        "rejected": "rejected",
        "truncated": "rejected",
        "parked": "failed",
        "waiting": None,
    }
    assert (by_key[keys["parked"]]["error_code"], by_key[keys["parked"]]["error_kind"]) == (
        "BUG",
        "bug",
    )
    assert by_key[keys["waiting"]]["turnaround_seconds"] is None


def test_predictions(small_site):
    database, keys = small_site
    second, first = view(database, "v1_predictions")

    assert (first["distance"], second["distance"]) == (None, 1.25)

    assert (first["study_key"], second["study_key"]) == (keys["positive"], keys["mixed"])
    assert (first["probability"], first["verdict"]) == (0.9, "positive")
    assert (second["probability"], second["verdict"]) == (0.1, "negative")
    assert (second["instance_number"], second["instance_revision"]) == (1, 1)
    assert (second["view_position"], second["manufacturer"]) == ("AP", "OTHER")
    assert (first["rows"], first["columns"]) == (2048, 2500)
    assert (first["model_version"], first["architecture"]) == ("resnet50-1.0.0", "resnet50")
    assert first["transfer_syntax"] == "Explicit VR Little Endian"
    assert (first["attempt"], first["frame_number"], first["device"]) == (1, 1, "cpu")


def test_refusals_by_code(small_site):
    database, _ = small_site
    chest, truncated = view(database, "v1_refusals_by_code")

    # Judged: one positive, two of the mixed study, one rejected, one truncated: five.
    assert (chest["refusal_code"], chest["instances"], chest["studies"]) == ("NOT_A_CHEST", 2, 2)
    assert chest["rejected_studies"] == 1
    assert chest["share_of_instances"] == pytest.approx(2 / 5)
    assert (chest["refusal_step"], chest["refusal_tag"]) == (
        "eligibility",
        "(0018,0015) Body Part Examined",
    )
    assert chest["first_received_at"] < chest["last_received_at"]
    assert (truncated["refusal_code"], truncated["instances"]) == ("FILE_TRUNCATED", 1)
    assert truncated["share_of_instances"] == pytest.approx(1 / 5)


def test_turnaround_by_priority(database):
    """Twenty routine studies of 1..20 s and one stat study of 7 s; waiting half as long.

    Nearest rank: of 20 values the 50th percentile is the 10th, the 95th is the 19th.
    """
    keys = [finish_one(database, uid=uid_of(number)) for number in range(20)]
    stat = finish_one(database, uid=uid_of(99), priority=Priority.STAT)
    seconds = {key: number for number, key in enumerate(reversed(keys), start=1)} | {stat: 7}
    for key, turnaround in seconds.items():
        rows(
            database,
            "UPDATE study SET turnaround_seconds = :t, waiting_seconds = :w WHERE study_key = :k",
            t=float(turnaround),
            w=turnaround / 2,
            k=key,
        )
    accept_one(database, uid=uid_of(100))  # waits: counts for nothing

    found = view(database, "v1_turnaround_by_priority")

    assert [tuple(row.values()) for row in found] == [
        ("stat", 1, 3.5, 3.5, 3.5, 7.0, 7.0, 7.0),
        ("routine", 20, 5.0, 9.5, 10.0, 10.0, 19.0, 20.0),
    ]


def test_an_empty_site_has_empty_views(database):
    for name in VIEWS:
        assert view(database, name) == []


@pytest.mark.parametrize("name", ["v1_studies", "v1_predictions", "v1_shadow_agreement"])
def test_views_say_what_they_said_in_0_2_0(small_site, name):
    """They were written anew to be fast on a long history."""
    database, _ = small_site
    with database.transaction() as session:
        announce(
            session, uid_of(9), ["1.2.3"], priority=Priority.ROUTINE, source=Source.PYTHON
        )  # of which nothing came: its counts are NULL
        before = view_text(name, "0002").replace(f"CREATE VIEW {name}", "CREATE VIEW before")
        session.execute(text(before))
    shared = ", ".join(f'"{column}"' for column in columns_of(database, "before"))
    said, says = (
        sorted(map(str, rows(database, f"SELECT {shared} FROM {of}"))) for of in ("before", name)
    )
    assert said == says
    assert said


def test_newest_come_first_and_few_if_asked(small_site):
    database, keys = small_site
    with database.reading() as session:
        _, found = view_rows(session, "v1_studies", limit=2)

    assert [row[0] for row in found] == [keys["waiting"], keys["parked"]]


def test_other_tables_are_no_views(database):
    with database.reading() as session, pytest.raises(KeyError):
        view_rows(session, "study_identity")


# --- the documents --------------------------------------------------------------------------------


def columns_of(database, name):
    return [column["name"] for column in inspect(database.engine).get_columns(name)]


@pytest.mark.parametrize("name", VIEWS)
def test_each_file_documents_its_columns_in_order(sqlite_url, name):
    from db.engine.session import Database

    database = Database(sqlite_url)
    header = (VIEW_FOLDER / f"{name}.sql").read_text().split("CREATE VIEW")[0]
    lines = re.findall(r"^-- (\w+(?:, \w+)*)  +\w", header, re.MULTILINE)
    documented = [column for line in lines for column in line.split(", ")]

    assert documented == columns_of(database, name)
    database.dispose()


@pytest.mark.parametrize("name", VIEWS)
def test_the_analysts_page_documents_each_column_in_order(sqlite_url, name):
    from db.engine.session import Database

    database = Database(sqlite_url)
    section = analysts_page().split(f"## {name}:")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert documented == columns_of(database, name)
    database.dispose()


def test_the_page_and_the_code_know_the_same_views():
    assert set(VIEWS) == {path.stem for path in VIEW_FOLDER.glob("*.sql")}
    assert set(VIEWS) == set(re.findall(r"^## (v1_\w+):", analysts_page(), re.MULTILINE))


def analysts_page():
    return (ROOT / "docs" / "analysts.md").read_text()


def queries():
    return re.findall(r"```sql\n(.*?)```", analysts_page(), re.DOTALL)


def test_the_queries_of_the_page_run(small_site):
    database, _ = small_site
    by_site, by_view, within, agreement, deliveries = (rows(database, query) for query in queries())

    # site, studies, positive, negative, rejected, failed, unfinished
    assert by_site == [(None, 5, 0, 1, 2, 1, 1), ("NORTH", 1, 1, 0, 0, 0, 0)]
    assert [(row[0], row[1], row[2], row[3]) for row in by_view] == [
        ("resnet50-1.0.0", "AP", "OTHER", 1),
        ("resnet50-1.0.0", "PA", "ACME", 1),
    ]
    assert [(float(row[4]), float(row[5])) for row in by_view] == [(0.1, 0.0), (0.9, 1.0)]
    assert [(row[0], row[1], float(row[3])) for row in within] == [
        ("stat", 1, 1.0),
        ("routine", 3, 1.0),
    ]
    # active, shadow, frames, agreement, only active, only shadow, not assessed, difference
    ((*pair, frames, agreed, only_active, only_shadow, unassessed, difference),) = agreement
    assert pair == ["resnet50-1.0.0", "vgg16-1.0.0"]
    assert (frames, only_active, only_shadow, unassessed) == (2, 1, 0, 0)
    assert (float(agreed), float(difference)) == (0.5, pytest.approx(-0.35))
    # destination, results, arrived, on their way, parked
    assert deliveries == []


def test_deliveries_are_counted_by_the_query_of_the_page(database):
    delivery_builders.activate_destinations(database, "archive", "web")
    key = finish_one(database)
    ((first,),) = rows(
        database, "SELECT delivery_key FROM result_delivery WHERE destination = 'archive'"
    )
    delivery_builders.send_one_delivery(
        database, delivery_builders.claim_one_delivery(database, first)
    )
    (*_, query) = queries()
    assert [tuple(map(str, row)) for row in rows(database, query)] == [
        ("archive", "1", "1", "0", "0"),
        ("web", "1", "0", "1", "0"),
    ]
    shown = "SELECT study_key, model_version, destination, state, verdict, attempts "
    assert rows(database, f"{shown} FROM v1_deliveries ORDER BY destination") == [
        (key, "resnet50-1.0.0", "archive", "sent", "positive", 1),
        (key, "resnet50-1.0.0", "web", "waiting", "positive", 0),
    ]
