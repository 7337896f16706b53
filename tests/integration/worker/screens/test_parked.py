"""What an operator reads about what is parked, and how it is tried again."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from sqlalchemy import text

from db.deliveries.claims import park_delivery
from db.studies.results import park
from tests.builders.database import (
    accept_one,
    claim_one,
    events_of,
    finish_one,
    make_failure,
    one,
    rows,
    uid_of,
)
from tests.builders.deliveries import activate_destinations, claim_one_delivery
from worker.errors import Rejected
from worker.screens.deliveries import retry_deliveries
from worker.screens.parked import retry_studies, show_parked

TODAY = datetime.now(UTC).date()


def printed(show, *arguments, **values):
    file = io.StringIO()
    result = show(*arguments, console=Console(width=160, file=file), **values)
    return result, " ".join(file.getvalue().split())


def park_days_ago(database, number, code, days):
    key = accept_one(database, uid=uid_of(number)).study_key
    claimed = claim_one(database, key)
    with database.transaction() as session:
        park(session, claimed, make_failure(code=code))
        session.execute(
            text("UPDATE study SET finished_at = :at WHERE study_key = :key"),
            {"at": f"{TODAY - timedelta(days=days)} 12:00:00.000000", "key": key},
        )
    return key


def park_one_delivery(database):
    activate_destinations(database, "archive")
    key = finish_one(database, uid=uid_of(90))
    claim = claim_one_delivery(database)
    with database.transaction() as session:
        park_delivery(session, claim, make_failure("rejected", "REFUSED", "It says no."))
    return key, claim.delivery_key


def test_nothing_parked_is_said_so(settings, database):
    assert printed(show_parked, settings)[1] == "Nothing is parked."
    assert printed(retry_studies, settings, parked=True) == (0, "Nothing is parked.")


def test_codes_counts_ages_examples_and_advice(settings, database):
    bugs = [park_days_ago(database, n, "BUG", days) for n, days in enumerate((9, 5, 3, 1), 1)]
    crash = park_days_ago(database, 5, "CRASHED_WORKER", 2)
    _, delivery = park_one_delivery(database)

    _, said = printed(show_parked, settings)

    assert "Parked: 5 studies" in said
    assert "Parked: 1 delivery" in said
    assert f"│ BUG │ 4 │ {TODAY - timedelta(days=9)} 12:00:00 │" in said
    assert all(key[:12] in said for key in (*bugs[1:], crash, delivery))
    assert bugs[0][:12] not in said, "three examples are enough"
    assert "pneumo retry --code BUG" in said
    assert (
        "REFUSED: It says no. Once that is done: pneumo deliveries --retry --code REFUSED" in said
    )


def test_programs_read_the_same_as_json(settings, database):
    park_days_ago(database, 1, "BUG", 9)
    newest = park_days_ago(database, 2, "BUG", 1)

    _, said = printed(show_parked, settings, as_json=True)
    (group,) = json.loads(said)
    assert (group["kind"], group["code"], group["count"]) == ("study", "BUG", 2)
    assert group["example_keys"][0] == newest
    assert group["oldest_at"] < group["newest_at"]

    _, said = printed(show_parked, settings, as_json=True, since=TODAY - timedelta(days=3))
    assert [group["count"] for group in json.loads(said)] == [1]


def test_a_mended_version_replays_what_was_parked_since_a_day(settings, database):
    old = park_days_ago(database, 1, "BUG", 9)
    new = park_days_ago(database, 2, "BUG", 1)
    other = park_days_ago(database, 3, "CRASHED_WORKER", 1)

    code, said = printed(retry_studies, settings, code="BUG", since=TODAY - timedelta(days=3))

    assert (code, "1 study will be retried." in said) == (0, True)
    states = dict(rows(database, "SELECT study_key, state FROM study"))
    assert states == {old: "parked", new: "accepted", other: "parked"}
    assert events_of(database, new)[-1] == "study_retried"
    actor = one(database, "SELECT actor FROM audit_record WHERE event = 'study_retried'")
    assert actor.startswith("operator:")


def test_one_that_is_not_parked_is_told(settings, database):
    key = accept_one(database).study_key
    claim_one(database, key)
    code, said = printed(retry_studies, settings, [key])
    assert (code, "is not parked, unchanged" in said) == (1, True)


@pytest.mark.parametrize(
    "options",
    [{}, {"parked": True, "studies": ["0" * 32]}, {"code": "BUG", "studies": ["0" * 32]}],
    ids=["nothing", "all and some", "a code and some"],
)
def test_which_ones_must_be_clear(settings, database, options):
    with pytest.raises(Rejected, match=r"RETRY_WHICH.*Name the studies to retry"):
        printed(retry_studies, settings, **options)


def test_deliveries_are_retried_by_code_with_the_person_who_asked(settings, database):
    key, _ = park_one_delivery(database)

    assert "0 deliveries" in printed(retry_deliveries, settings, [], code="OTHER")[1]
    assert (
        "1 delivery will be retried" in printed(retry_deliveries, settings, [], code="REFUSED")[1]
    )

    assert events_of(database, key)[-1] == "result_retried"
    found = "SELECT actor, detail FROM audit_record WHERE event = 'result_retried'"
    ((actor, detail),) = rows(database, found)
    assert actor.startswith("operator:")
    assert json.loads(detail)["code"] == "REFUSED"
