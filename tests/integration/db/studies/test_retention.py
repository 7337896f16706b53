"""Whose files may leave, and what their rows say afterwards, on both databases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from db.studies.claims import claim
from db.studies.intake import accept, receive_instance
from db.studies.overview import study_detail
from db.studies.results import park
from db.studies.retention import (
    RemovableFiles,
    count_removable,
    file_names_in_use,
    files_to_remove,
    mark_removed,
    removable_studies,
)
from tests.builders.database import (
    accept_one,
    backdate,
    claim_one,
    digest,
    ensure_model,
    events_of,
    finish_one,
    make_failure,
    make_instance,
    make_study,
    one,
    positive_outcome,
    rows,
    store,
    uid_of,
)
from tests.builders.deliveries import activate_destinations, claim_one_delivery, send_one_delivery

DAY = 24 * 3600.0


def finished(database, number, *, days_ago, images=(1, 2)):
    key = finish_one(database, *images, uid=uid_of(number))
    backdate(database, key, "finished_at", days_ago * DAY)
    return key


def due(database, *, keep_days=30, limit=10):
    with database.reading() as session:
        ids = removable_studies(session, keep_days=keep_days, limit=limit)
    return [one(database, "SELECT study_key FROM study WHERE id = :id", id=i) for i in ids]


def marked(database, key, *, keep_days=30) -> RemovableFiles | None:
    study_id = one(database, "SELECT id FROM study WHERE study_key = :key", key=key)
    with database.transaction() as session:
        return mark_removed(session, study_id, keep_days=keep_days, actor="test")


def test_the_longest_finished_leave_first_and_the_young_stay(database):
    young = finished(database, 1, days_ago=29)
    older, oldest = finished(database, 2, days_ago=31), finished(database, 3, days_ago=300)
    assert due(database) == [oldest, older]
    assert due(database, limit=1) == [oldest]
    assert due(database, keep_days=28) == [oldest, older, young]
    with database.reading() as session:
        leaving = count_removable(session, keep_days=30)
    assert (leaving.studies, leaving.files, leaving.size) == (2, 4, 2 * (1001 + 1002))


def test_the_files_of_a_result_that_is_still_owed_stay(database):
    activate_destinations(database, "archive")
    key = finished(database, 1, days_ago=300)
    assert due(database) == []
    send_one_delivery(database, claim_one_delivery(database))
    assert due(database) == [key]


def receiving(database, uid):
    with database.transaction() as session:
        return receive_instance(session, make_study(1, uid=uid), idle_window_s=60).study_key


def running(database, uid):
    key = accept_one(database, uid=uid).study_key
    claim_one(database, key)
    return key


def parked(database, uid):
    key = accept_one(database, uid=uid).study_key
    claimed = claim_one(database, key)
    with database.transaction() as session:
        park(session, claimed, make_failure(code="BUG"))
    return key


def revised(database, uid):
    key = finish_one(database, uid=uid)
    assert accept_one(database, 2, uid=uid).study_key == key
    return key


@pytest.mark.parametrize(
    "state",
    [lambda db, uid: accept_one(db, uid=uid).study_key, receiving, running, parked, revised],
    ids=["accepted", "receiving", "running", "parked", "revised"],
)
def test_what_is_not_finished_keeps_its_files_however_old(database, state):
    key = state(database, uid_of(1))
    for column in ("received_at", "finished_at"):
        backdate(database, key, column, 1000 * DAY)
    assert due(database) == []
    assert marked(database, key) is None
    assert one(database, "SELECT count(file_removed_at) FROM instance") == 0


def test_rows_say_it_first_and_the_audit_trail_counts(database):
    key = finished(database, 1, days_ago=31)
    leaving = marked(database, key)
    names = {name for (name,) in rows(database, "SELECT file_name FROM instance")}
    assert set(leaving.names) == names
    with database.transaction() as session:
        assert set(files_to_remove(session, leaving)) == names
    assert due(database) == []
    assert marked(database, key) is None, "only once"

    with database.reading() as session:
        assert file_names_in_use(session, names) == set()
        detail = study_detail(session, key)
    assert [bool(instance.file_removed_at) for instance in detail.instances] == [True, True]
    assert detail.summary.probability == 0.9
    assert events_of(database, key)[-1] == "files_removed"
    (told,) = rows(database, "SELECT detail FROM audit_record WHERE event = 'files_removed'")
    assert json.loads(told[0]) == {"bytes": 2003, "files": 2, "keep_days": 30}


def test_a_file_that_another_row_counts_on_stays(database):
    """Two rows cannot share content that holds both their UIDs; were it so, the file would stay."""
    shared = {"file_name": "ab/shared.dcm"}
    first = finish_one(database, instances=[make_instance(uid=uid_of(1), **shared)], uid=uid_of(1))
    accept_one(database, instances=[make_instance(uid=uid_of(2), **shared)], uid=uid_of(2))
    backdate(database, first, "finished_at", 31 * DAY)
    leaving = marked(database, first)
    assert leaving.names == ("ab/shared.dcm",)
    with database.transaction() as session:
        assert files_to_remove(session, leaving) == []


def test_more_names_than_a_statement_may_have_are_asked_in_parts(database):
    finish_one(database)
    (name,) = rows(database, "SELECT file_name FROM instance")[0]
    with database.reading() as session:
        asked = [f"ab/{number}.dcm" for number in range(1200)]
        assert file_names_in_use(session, [*asked, name]) == {name}


@pytest.mark.parametrize("is_here", [True, False])
def test_a_resend_is_a_duplicate_and_brings_back_what_lies_there(database, is_here):
    key = finished(database, 1, days_ago=31)
    marked(database, key)
    with database.transaction() as session:
        resent = make_study(1, uid=uid_of(1))
        answer = accept(session, resent, is_here=lambda _name: is_here)
    assert [i.outcome.value for i in answer.instances] == ["duplicate"]
    assert answer.state.value == "done"
    assert one(database, "SELECT count(file_removed_at) FROM instance") == (1 if is_here else 2)
    assert (events_of(database, key)[-1] == "files_returned") is is_here
    assert due(database) == [], "it stays as long as a new one"
    assert due(database, keep_days=0) == ([key] if is_here else [])


def test_the_same_image_in_another_wrapping_comes_back_as_well(database):
    """From the archive it has another file meta, and so another digest, than the modality's had."""
    first = make_instance(1, uid=uid_of(1), content_sha256=digest("content"))
    with database.transaction() as session:
        accept(session, make_study(uid=uid_of(1), instances=[first]))
    model = ensure_model(database)
    key = one(database, "SELECT study_key FROM study")
    running = claim_one(database, key)
    store(database, running, positive_outcome(running, model))
    backdate(database, key, "finished_at", 31 * 86_400)
    marked(database, key)
    other = replace(
        first, file_sha256=digest("other meta"), file_name="cd/other.dcm", file_bytes=999
    )
    with database.transaction() as session:
        resent = make_study(uid=uid_of(1), instances=[other])
        accept(session, resent, is_here=lambda name: name == "cd/other.dcm")

    what = "SELECT file_name, file_sha256, file_bytes, file_removed_at FROM instance"
    assert rows(database, what) == [("cd/other.dcm", other.file_sha256, 999, None)]
    assert events_of(database, key)[-1] == "files_returned"


def test_a_study_whose_files_left_is_looked_at_again_when_images_come(database):
    key = finished(database, 1, days_ago=31)
    assert len(marked(database, key).names) == 2
    assert one(database, "SELECT count(files_left_at) FROM study") == 1
    assert finished(database, 1, days_ago=31, images=(1, 2, 3)) == key
    assert one(database, "SELECT count(files_left_at) FROM study") == 0
    assert due(database) == [key]
    assert len(marked(database, key).names) == 1


def test_a_study_is_looked_at_as_long_as_one_of_its_files_stays(database):
    key = finished(database, 1, days_ago=31)
    marked(database, key)
    with database.transaction() as session:
        accept(session, make_study(1, uid=uid_of(1)), is_here=lambda _name: True)
    finished(database, 1, days_ago=31, images=(3,))
    assert len(marked(database, key).names) == 1, "the one that came last, not the one sent again"
    assert one(database, "SELECT count(files_left_at) FROM study") == 0
    assert due(database) == []
    assert due(database, keep_days=0) == [key]


def test_a_claim_knows_which_files_left(database):
    key = finished(database, 1, days_ago=31, images=(1,))
    marked(database, key)
    accept_one(database, 2, uid=uid_of(1))
    with database.transaction() as session:
        claimed = claim(session, key, worker_name="w", lease_s=60)
    assert [instance.file_removed for instance in claimed.instances] == [True, False]


def test_content_that_another_row_has_by_its_digest_is_that_row_s(database):
    """Two rows of one content, since what stood for the content of the first was not known."""
    content = digest("cstore")
    folder = make_instance(1, content="folder", content_sha256=None)
    stored = replace(
        folder, file_sha256=content, content_sha256=content, file_name="cd/by-store.dcm"
    )
    key = accept_one(database, instances=[folder], uid=uid_of(1)).study_key
    accept_one(database, instances=[stored], uid=uid_of(1))
    taken = claim_one(database, key)
    store(database, taken, positive_outcome(taken, ensure_model(database)))
    backdate(database, key, "finished_at", 31 * DAY)
    assert len(marked(database, key).names) == 2

    resent = make_study(instances=[replace(folder, content_sha256=content)], uid=uid_of(1))
    with database.transaction() as session:
        accept(session, resent, is_here=lambda name: name == folder.file_name)

    assert rows(
        database,
        "SELECT file_sha256, file_removed_at IS NULL AS here FROM instance ORDER BY id",
    ) == [(folder.file_sha256, True), (content, False)]


def test_content_that_was_replaced_does_not_come_back_in_another_wrapping(database):
    """Its row's own file may; whatever else comes of it is needed by nobody."""
    old = make_instance(1, content="old", content_sha256=digest("old data set"))
    new = make_instance(1, content="new", content_sha256=digest("new data set"))
    key = accept_one(database, instances=[old], uid=uid_of(1)).study_key
    accept_one(database, instances=[new], uid=uid_of(1))
    taken = claim_one(database, key)
    store(database, taken, positive_outcome(taken, ensure_model(database)))
    backdate(database, key, "finished_at", 31 * DAY)
    marked(database, key)

    wrapped = replace(old, file_sha256=digest("wrapped"), file_name="cd/wrapped.dcm")
    with database.transaction() as session:
        resent = make_study(instances=[wrapped], uid=uid_of(1))
        accept(session, resent, is_here=lambda name: name == "cd/wrapped.dcm")

    assert one(database, "SELECT count(*) FROM instance WHERE file_removed_at IS NULL") == 0
