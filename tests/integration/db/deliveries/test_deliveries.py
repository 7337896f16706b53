"""Results owed to destinations: in the verdict's transaction, in order, to the end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event, select

from db.deliveries.cancel import (
    cancel_deliveries,
    cancel_study_deliveries,
    cancel_updates,
    outstanding_deliveries,
)
from db.deliveries.claims import (
    begin_delivery,
    finish_delivery,
    park_delivery,
    renew_delivery,
    retry_delivery,
)
from db.deliveries.commitment import (
    cancel_commitment,
    delete_obsolete_requests,
    postpone_commitment,
    record_commitment_report,
    request_commitment,
)
from db.deliveries.destinations import postpone_probe, record_failure, record_success
from db.deliveries.overview import destination_summaries, own_results, parked_deliveries
from db.deliveries.past_results import PastResultOutcome, enqueue_past_results
from db.deliveries.predecessors import objects_begun
from db.deliveries.publication import CRASHES_UNTIL_PARKED, due_for_delivery, sweep_deliveries
from db.deliveries.rows import REQUESTS_KEPT
from db.engine.clock import now
from db.ledger.conditions import active_conditions
from db.ledger.identity import erase_identity
from db.models import ResultDelivery
from db.studies.retention import count_kept_as_outstanding, removable_studies
from db.values import Backoff, SweptClaim
from db.values.deliveries import CommitmentOutcome, Urgency
from db.vocabulary.enums import DeliveryState, Priority, SweepAction, Verdict
from db.vocabulary.errors import StaleClaim
from tests.builders.database import (
    accept_one,
    claim_one,
    digest,
    ensure_model,
    events_of,
    failure,
    finish_one,
    one,
    positive_outcome,
    rejected_outcome,
    rows,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    begun,
    changed,
    claimed,
    destined,
    due,
    long_ago,
    objects,
    put_off,
    sent,
    states,
)


def revise(database, key, *, finish=True):
    """A further image, and the study's next result."""
    accept_one(database, 1, 2)
    if finish:
        again = claim_one(database, key)
        store(database, again, positive_outcome(again, ensure_model(database)))


# --- owing --------------------------------------------------------------------------------------


def test_a_result_is_owed_to_each_destination_once_and_without_one_to_nobody(database):
    finish_one(database, uid=uid_of(1))
    assert rows(database, "SELECT * FROM result_delivery") == []

    destined(database, "archive", "web")
    key = finish_one(database, uid=uid_of(2))

    owed = "SELECT destination, study_key, revision, verdict FROM result_delivery ORDER BY id"
    assert rows(database, owed) == [
        ("archive", key, 1, "positive"), ("web", key, 1, "positive"),
    ]  # fmt: skip


def test_a_destination_that_went_gets_nothing_further_and_keeps_what_it_is_owed(database):
    destined(database, "archive")
    finish_one(database, uid=uid_of(1))
    destined(database, "web")
    finish_one(database, uid=uid_of(2))

    assert due(database) == [one(database, OF, name="web")]
    destined(database, "archive")
    assert due(database) == [one(database, OF, name="archive")]


OF = "SELECT delivery_key FROM result_delivery WHERE destination = :name"


@pytest.mark.parametrize(("takes_rejected", "count"), [(True, 1), (False, 0)])
def test_a_study_of_which_nothing_was_evaluated_is_told_if_the_site_wants(
    database, takes_rejected, count
):
    destined(database, takes_rejected=takes_rejected)
    model = ensure_model(database)
    study = claim_one(database, accept_one(database).study_key)
    outcome = rejected_outcome(study)
    store(database, study, type(outcome)(**(outcome.__dict__ | {"model_version_id": model.id})))
    assert len(states(database)) == count


def test_a_parked_study_owes_nothing(database):
    from db.studies.results import park

    destined(database)
    study = claim_one(database, accept_one(database).study_key)
    with database.transaction() as session:
        park(session, study, failure())
    assert states(database) == []


# --- superseding --------------------------------------------------------------------------------


def test_a_newer_result_takes_the_place_of_one_that_was_not_sent(database):
    destined(database)
    key = finish_one(database)
    revise(database, key)

    assert states(database) == ["superseded", "waiting"]
    claim = claimed(database)
    assert (claim.revision, claim.predecessor) == (2, None)


def test_a_newer_result_names_the_one_that_was_sent(database):
    destined(database)
    key = finish_one(database)
    sent(database, claimed(database), "first")
    revise(database, key)

    assert states(database) == ["sent", "waiting"]
    links = "SELECT superseded_by IS NOT NULL FROM result_delivery ORDER BY id"
    assert [bool(x) for (x,) in rows(database, links)] == [True, False]
    before = claimed(database).predecessor
    assert (before.revision, before.model_name) == (1, "resnet50-1.0.0")
    assert list(before.objects) == objects("first")


def test_one_that_may_have_arrived_is_named_to_every_destination_alike(database):
    """All of them get the same objects, so what these say must not differ (PS3.5 9.1)."""
    destined(database, "archive", "web")
    key = finish_one(database)
    first = claimed(database, one(database, OF, name="archive"))
    begun(database, first)
    put_off(database, first)
    revise(database, key)

    newer = "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'"
    named = [claimed(database, k).predecessor for (k,) in rows(database, newer)]
    assert len(named) == 2
    assert named[0] == named[1] is not None


def find_nothing(database, key):
    """A further image, after which the study as a whole is not evaluated."""
    accept_one(database, 1, 2)
    model, study = ensure_model(database), claim_one(database, key)
    store(database, study, replace(rejected_outcome(study), model_version_id=model.id))


def test_what_is_true_no_more_is_not_sent_to_one_that_wants_no_rejected(database):
    destined(database, takes_rejected=False)
    key = finish_one(database)
    (delivery,) = due(database)
    find_nothing(database, key)
    assert states(database) == ["superseded"]
    assert claimed(database, delivery) is None


@pytest.mark.parametrize("finished", [True, False])
def test_one_that_may_hold_what_is_true_no_more_is_told_whatever_it_wants(database, finished):
    destined(database, takes_rejected=False)
    key = finish_one(database)
    first = claimed(database)
    assert begun(database, first)
    if finished:
        with database.transaction() as session:
            finish_delivery(session, first)
    else:
        put_off(database, first)
    find_nothing(database, key)
    assert states(database) == ["sent" if finished else "superseded", "waiting"]
    claim = claimed(database)
    assert (claim.verdict, claim.predecessor.revision) == (Verdict.REJECTED, 1)


@pytest.mark.parametrize("is_sent", [True, False])
def test_one_that_comes_back_gets_what_is_true_by_then(database, is_sent):
    destined(database, "archive")
    key = finish_one(database)
    if is_sent:
        sent(database, claimed(database))
    destined(database, "other")
    revise(database, key)
    finish_one(database, uid=uid_of(7))
    destined(database, "archive", "other")

    owed = "SELECT revision, state FROM result_delivery WHERE destination = 'archive' ORDER BY id"
    assert rows(database, owed) == [(1, "sent" if is_sent else "superseded"), (2, "waiting")]
    current = one(database, OF + " AND state = 'waiting'", name="archive")
    assert current in due(database)
    assert (claimed(database, current).predecessor is not None) == is_sent


def test_one_that_is_on_its_way_is_not_begun_any_more_once_there_is_a_newer_one(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    revise(database, key)
    assert states(database) == ["sending", "waiting"]

    assert not begun(database, first)
    assert states(database) == ["superseded", "waiting"]
    assert claimed(database).predecessor is None


def test_a_result_waits_while_an_earlier_one_is_on_its_way(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    assert begun(database, first)
    revise(database, key)

    newer = one(database, "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'")
    assert claimed(database, newer) is None
    changed(database, newer, due_at=long_ago(database))
    with database.transaction() as session:
        finish_delivery(session, first)
    assert claimed(database, newer).revision == 2


def test_a_result_waits_while_its_study_is_read_again(database):
    destined(database)
    key = finish_one(database)
    (delivery,) = due(database)
    revise(database, key, finish=False)
    assert claimed(database, delivery) is None
    assert states(database) == ["waiting"]


def test_a_failure_of_one_that_was_superseded_meanwhile_ends_it(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    assert begun(database, first)
    revise(database, key)
    put_off(database, first)
    assert states(database) == ["superseded", "waiting"]


# --- claims -------------------------------------------------------------------------------------


def test_only_one_has_a_claim_and_whoever_was_overtaken_writes_nothing(database):
    destined(database)
    finish_one(database)
    (key,) = due(database)
    first = claimed(database, key, lease_s=0.001)
    assert claimed(database, key) is None
    with database.transaction() as session:
        assert sweep_deliveries(session) == [SweptClaim(key=key, action=SweepAction.REQUEUED)]
    second = claimed(database, key)
    assert second.token == first.token + 1

    for write in (
        lambda s: renew_delivery(s, first, lease_s=9),
        lambda s: finish_delivery(s, first),
    ):
        with pytest.raises(StaleClaim), database.transaction() as session:
            write(session)
    with pytest.raises(StaleClaim):
        begun(database, first)
    sent(database, second)
    assert states(database) == ["sent"]


def test_a_renewed_claim_is_not_swept(database):
    destined(database)
    finish_one(database)
    claim = claimed(database, lease_s=0.001)
    with database.transaction() as session:
        renew_delivery(session, claim, lease_s=60)
        assert sweep_deliveries(session) == []


def test_a_result_that_kills_its_workers_is_parked(database):
    destined(database)
    finish_one(database)
    (key,) = due(database)
    for _ in range(CRASHES_UNTIL_PARKED):
        assert claimed(database, key, lease_s=0.001)
        with database.transaction() as session:
            (swept,) = sweep_deliveries(session)
    assert swept.action is SweepAction.PARKED
    with database.reading() as session:
        (parked,) = parked_deliveries(session)
    assert parked.error_code == "CRASHED_DELIVERY"


def test_one_that_was_published_is_not_published_again_at_once(database):
    destined(database)
    finish_one(database)
    (key,) = due(database)
    assert due(database) == []
    changed(database, key, published_at=long_ago(database))
    assert due(database) == [key]


def test_one_that_was_put_off_is_due_again_later(database):
    destined(database)
    finish_one(database)
    (key,) = due(database)
    put_off(database, claimed(database, key), delay_s=60)
    assert due(database) == []
    changed(database, key, due_at=long_ago(database))
    assert due(database) == [key]
    assert claimed(database, key).failures == 1


# --- which goes first ---------------------------------------------------------------------------


def key_to(database, study, name="archive"):
    """The delivery of a study's last result."""
    sql = (
        "SELECT delivery_key FROM result_delivery WHERE study_key = :study AND destination = :name "
        "ORDER BY id DESC LIMIT 1"
    )
    return one(database, sql, study=study, name=name)


def finish_some(database, *priorities):
    return [
        finish_one(database, uid=uid_of(number), priority=priority)
        for number, priority in enumerate(priorities)
    ]


def finish_at(database, number, priority):
    return finish_one(database, uid=uid_of(number), priority=priority)


def test_stat_goes_before_what_waits_longer_to_every_destination(database):
    destined(database, "archive", "web")
    first, second, stat = finish_some(database, Priority.ROUTINE, Priority.ROUTINE, Priority.STAT)
    for seconds, study in enumerate((stat, second, first)):
        moment = long_ago(database, 60.0 + seconds)
        changed(database, key_to(database, study, "web"), due_at=moment)

    assert set(due(database, limit=2)) == {
        key_to(database, stat, "archive"), key_to(database, stat, "web"),
    }  # fmt: skip
    assert due(database) == [
        key_to(database, study, name) for study in (first, second) for name in ("web", "archive")
    ]


def test_a_destination_with_many_to_take_holds_up_no_other(database):
    destined(database, "slow")
    for number in range(5):
        finish_one(database, uid=uid_of(number))
    destined(database, "fast", "slow")
    newest = finish_one(database, uid=uid_of(9))
    assert key_to(database, newest, "fast") in due(database, limit=2)


def test_a_slow_destination_does_not_fill_the_queue(database):
    destined(database, "fast", "slow")
    owed = finish_some(database, *[Priority.ROUTINE] * 4, Priority.STAT)
    for study in owed:
        claim = claimed(database, key_to(database, study, "fast"))
        sent(database, claim, study)
    stat = key_to(database, owed[-1], "slow")
    published = due(database, in_queue=6)
    assert published == [stat, *(key_to(database, study, "slow") for study in owed[:2])]
    assert due(database, in_queue=6) == [], "its share is in the queue"
    newest = finish_one(database, uid=uid_of(9))
    assert due(database, in_queue=6) == [key_to(database, newest, "fast")]


def test_a_slow_destination_with_many_stat_results_holds_up_no_other(database):
    destined(database, "slow")
    owed = finish_some(database, *[Priority.STAT] * 5)
    destined(database, "quick", "slow")
    assert due(database, in_queue=6) == [key_to(database, study, "slow") for study in owed[:2]]
    routine, stat = finish_at(database, 8, Priority.ROUTINE), finish_at(database, 9, Priority.STAT)
    published = due(database, in_queue=6)
    assert published[0] == key_to(database, stat, "quick")
    assert set(published[1:]) == {key_to(database, routine, name) for name in ("quick", "slow")}


def test_a_destination_that_is_away_keeps_its_share(database):
    """Else the queue is full of another's when it is back."""
    destined(database, "back", "slow")
    finish_some(database, *[Priority.ROUTINE] * 5)
    away(database, "back")
    assert len(due(database, in_queue=6)) == 2


def test_messages_that_lie_in_the_queue_are_not_doubled(database):
    """Doubled again and again, a slow destination's alone would fill it."""
    destined(database, "slow")
    finish_some(database, *[Priority.ROUTINE] * 3)
    first, second, third = due(database)
    for number, key in enumerate((first, second, third)):
        changed(database, key, published_at=long_ago(database, 3600 - number))
    lying = dict.fromkeys(Urgency, 0) | {Urgency.ROUTINE: 3}
    assert due(database, waiting=lying) == []
    assert due(database, waiting=lying | {Urgency.ROUTINE: 2}) == [first], "one was lost"
    assert due(database, waiting=lying | {Urgency.ROUTINE: 0}) == [second, third]


def test_an_urgency_whose_queue_is_full_takes_no_place_of_another(database):
    destined(database)
    _, _, routine = finish_some(database, Priority.STAT, Priority.STAT, Priority.ROUTINE)
    lying = dict.fromkeys(Urgency, 0) | {Urgency.STAT: 6}
    assert due(database, limit=2, in_queue=6, waiting=lying) == [key_to(database, routine)]


def test_what_is_due_is_found_by_the_index_of_its_destination(database):
    """Else each turn of the relay reads the whole backlog of everybody."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL decides by the size of the table")
    from db.deliveries import publication

    seen = []
    query = publication._due(long_ago(database))
    statement = select(ResultDelivery.id).where(ResultDelivery.destination == "a", query)
    with database.reading() as session:
        event.listen(database.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
        session.execute(statement)
        sql, parameters = seen[-1]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert "ix_result_delivery_destination_due_at" in str(plan)


def test_what_somebody_ordered_afterwards_goes_last_even_if_it_was_stat(database):
    destined(database)
    belated, routine = finish_some(database, Priority.STAT, Priority.ROUTINE)
    changed(database, key_to(database, belated), finished_at=long_ago(database))
    with database.reading() as session:
        found = due_for_delivery(session, limit=9, requeue_after_s=60)
    assert [(item.delivery_key, item.urgency) for item in found] == [
        (key_to(database, routine), Urgency.ROUTINE),
        (key_to(database, belated), Urgency.PAST_RESULT),
    ]


def test_the_question_whether_a_stat_result_is_kept_is_not_urgent(database):
    destined(database)
    stat, routine = finish_some(database, Priority.STAT, Priority.ROUTINE)
    sent(database, claimed(database, key_to(database, stat)), transaction_uid="2.25.1")
    changed(database, key_to(database, routine), due_at=long_ago(database))
    changed(database, key_to(database, stat), due_at=long_ago(database, 60))
    assert due(database) == [key_to(database, routine), key_to(database, stat)]


def test_results_of_one_stat_study_go_in_their_order(database):
    destined(database)
    (study,) = finish_some(database, Priority.STAT)
    first = claimed(database)
    assert begun(database, first)
    accept_one(database, 1, 2, uid=uid_of(0), priority=Priority.STAT)
    again = claim_one(database, study)
    store(database, again, positive_outcome(again, ensure_model(database)))

    newer = key_to(database, study)
    assert due(database) == [newer]
    assert claimed(database, newer) is None, "the earlier one is on its way"
    with database.transaction() as session:
        finish_delivery(session, first)
    changed(database, newer, due_at=long_ago(database))
    assert claimed(database, newer).revision == 2


def test_a_stat_result_is_the_probe_of_a_destination_that_is_away(database):
    destined(database)
    _, stat = finish_some(database, Priority.ROUTINE, Priority.STAT)
    away(database, delay_s=0)
    assert due(database) == [key_to(database, stat)]


# --- a destination that is away -----------------------------------------------------------------


def away(database, name="archive", delay_s=60.0):
    with database.transaction() as session:
        record_failure(session, name)
        postpone_probe(session, name, delay_s)


def test_while_a_destination_is_away_one_at_a_time_probes_it(database):
    destined(database)
    for number in range(3):
        finish_one(database, uid=uid_of(number))
    away(database, delay_s=60)
    assert due(database) == []
    away(database, delay_s=0)
    (probe,) = due(database)
    others = [
        key for (key,) in rows(database, "SELECT delivery_key FROM result_delivery") if key != probe
    ]
    assert claimed(database, probe)
    assert [claimed(database, key) for key in others] == [None, None]
    with database.transaction() as session:
        record_success(session, "archive")
        record_success(session, "archive")
    assert len(due(database)) == 2


def test_another_destination_does_not_wait(database):
    destined(database, "archive", "web")
    finish_one(database)
    away(database)
    assert due(database) == [one(database, OF, name="web")]


# --- what is told -------------------------------------------------------------------------------


def test_sending_is_audited_with_digests(database):
    destined(database)
    key = finish_one(database)
    sent(database, claimed(database), warning="B000")
    assert events_of(database, key)[-1] == "result_sent"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_sent'")
    assert objects()[0].sha256 in detail
    assert "2.25." not in detail


def test_other_bytes_under_a_uid_that_was_begun_are_audited(database):
    destined(database, "archive", "web")
    key = finish_one(database)
    first = claimed(database, one(database, OF, name="archive"))
    assert begun(database, first)
    put_off(database, first)
    changed(database, first.delivery_key, due_at=long_ago(database))
    assert begun(database, claimed(database, first.delivery_key)), "the same bytes again"
    assert "result_differs" not in events_of(database, key)

    second = claimed(database, one(database, OF, name="web"))
    other = [replace(sent, sha256=digest("other bytes")) for sent in objects()[:1]]
    with database.transaction() as session:
        assert begin_delivery(session, second, [*other, *objects()[1:]])
    assert events_of(database, key)[-1] == "result_differs"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_differs'")
    assert digest("other bytes") in detail
    assert objects()[1].sha256 not in detail


def test_all_that_was_begun_of_a_result_is_known_in_its_order(database):
    destined(database, "archive", "web")
    key = finish_one(database)
    for destination, name in (("archive", "first words"), ("web", "other words")):
        claim = claimed(database, one(database, OF, name=destination))
        begun(database, claim, name)
        begun(database, claim, "first words")
    with database.reading() as session:
        known = objects_begun(session, key, 1, "resnet50-1.0.0")
        assert objects_begun(session, key, 2, "resnet50-1.0.0") == []
    assert known == [*objects("first words"), *objects("other words")]


def test_our_objects_are_known_when_they_come_back(database):
    destined(database)
    finish_one(database)
    begun(database, claimed(database))
    ours = [item.sop_instance_uid for item in objects()]
    with database.reading() as session:
        assert own_results(session, [*ours, "1.2.3"]) == set(ours)


def test_files_are_needed_until_all_is_delivered(database):
    destined(database)
    key = finish_one(database, uid=uid_of(1))
    other = finish_one(database, uid=uid_of(2))
    sent(database, claimed(database, due(database)[0]))
    with database.reading() as session:
        leaving = removable_studies(session, keep_days=0, limit=10)
    assert [one(database, "SELECT study_key FROM study WHERE id = :id", id=i) for i in leaving] == [
        key
    ]
    assert other != key


# --- letting go ---------------------------------------------------------------------------------


def let_go(database, **which):
    with database.transaction() as session:
        keys = [item.delivery_key for item in outstanding_deliveries(session, **which)]
        return cancel_deliveries(session, keys, "operator:ada")


def may_leave(database):
    with database.reading() as session:
        kept = count_kept_as_outstanding(session, keep_days=0)
        return len(removable_studies(session, keep_days=0, limit=10)), kept.studies, kept.files


def test_what_is_let_go_is_not_sent_and_needs_no_files(database):
    destined(database, "archive", "web")
    key = finish_one(database)
    assert may_leave(database) == (0, 1, 1)
    assert let_go(database, destination="web") == 1
    assert let_go(database, destination="web") == 0
    assert may_leave(database) == (0, 1, 1)
    assert let_go(database, keys=[key[:8]]) == 1
    assert may_leave(database) == (1, 0, 0)
    assert states(database) == ["forgone", "forgone"]
    assert due(database) == []
    assert events_of(database, key)[-2:] == ["result_forgone", "result_forgone"]


def test_whoever_sends_it_just_then_stops(database):
    destined(database)
    finish_one(database)
    claim = claimed(database)
    assert let_go(database) == 1
    with pytest.raises(StaleClaim):
        begun(database, claim)
    with database.transaction() as session:
        assert sweep_deliveries(session) == []


def test_no_answer_brings_back_what_was_let_go(database):
    awaiting(database)
    assert let_go(database) == 1
    assert report(database, kept=[], failed={ALL[0]: 0x0112}) is CommitmentOutcome.UNKNOWN
    assert states(database) == ["forgone"]


@pytest.mark.parametrize("let_it_go", [True, False])
def test_a_destination_that_was_let_go_is_told_nothing_until_it_is_back(database, let_it_go):
    destined(database, "archive")
    key = finish_one(database)
    sent(database, claimed(database))
    with database.transaction() as session:
        assert not cancel_updates(session, "archive"), "it stands in the file"
    destined(database, "other")
    if let_it_go:
        with database.transaction() as session:
            assert cancel_updates(session, "archive")
    revise(database, key)
    newest = "SELECT destination FROM result_delivery WHERE revision = 2 ORDER BY 1"
    assert rows(database, newest) == [("other",)] if let_it_go else [("archive",), ("other",)]
    destined(database, "archive")
    assert one(database, "SELECT forgone_at FROM result_destination WHERE is_active") is None


def test_what_came_in_the_moment_of_an_erasure_is_not_sent(database):
    """The verdict's transaction may not see an erasure that commits at the same time."""
    destined(database)
    key = finish_one(database)
    claim = claimed(database)
    with database.transaction() as session:
        assert erase_identity(session, key, "operator:ada")
    assert not begun(database, claim)
    assert rows(database, "SELECT state, begun_at FROM result_delivery") == [("forgone", None)]
    assert events_of(database, key)[-2:] == ["identity_erased", "result_forgone"]


def test_nothing_more_is_owed_of_a_person_who_was_erased(database):
    destined(database)
    key = finish_one(database, 1)
    with database.transaction() as session:
        assert cancel_study_deliveries(session, key, "operator:ada") == 1
        assert erase_identity(session, key, "operator:ada")
    revise(database, key)
    assert states(database) == ["forgone"]
    destined(database, "web")
    begins = long_ago(database)
    with database.transaction() as session:
        (study,) = enqueue_past_results(
            session, "web", begins=begins, ends=now(session), actor="operator:ada"
        )
    assert study.outcome is PastResultOutcome.ERASED
    assert states(database) == ["forgone"]


def test_a_parked_one_is_shown_and_sent_round_again(database):
    destined(database)
    key = finish_one(database)
    claim = claimed(database)
    with database.transaction() as session:
        park_delivery(session, claim, failure("rejected", "REFUSED"))
    with database.reading() as session:
        (parked,) = parked_deliveries(session)
        (glance,) = destination_summaries(session)
        assert parked_deliveries(session, destination="web") == []
    assert (parked.study_key, parked.error_code) == (key, "REFUSED")
    assert glance.by_state == {DeliveryState.PARKED: 1}
    assert glance.oldest_waiting_seconds is None
    assert events_of(database, key)[-1] == "result_parked"

    with database.transaction() as session:
        assert retry_delivery(session, claim.delivery_key)
        assert not retry_delivery(session, claim.delivery_key)
    again = claimed(database)
    assert (again.refusals, again.failures) == (0, 0)


# --- storage commitment -------------------------------------------------------------------------


def awaiting(database, uid="2.25.1"):
    destined(database)
    finish_one(database)
    claim = claimed(database)
    sent(database, claim, transaction_uid=uid, repeat_after_s=3600)
    return claim.delivery_key


def report(database, uid="2.25.1", kept=(), failed=None, most=3):
    with database.transaction() as session:
        return record_commitment_report(session, uid, kept, failed or {}, max_refusals=most)


ALL = [item.sop_instance_uid for item in objects()]


def test_a_report_that_names_every_object_commits_once(database):
    awaiting(database)
    assert states(database) == ["awaiting_commitment"]
    assert report(database, uid="2.25.999", kept=ALL) is CommitmentOutcome.UNKNOWN
    assert report(database, kept=ALL) is CommitmentOutcome.COMMITTED
    assert states(database) == ["committed"]
    assert report(database, kept=ALL) is CommitmentOutcome.UNKNOWN
    assert one(database, "SELECT count(*) FROM audit_record WHERE event = 'result_committed'") == 1


@pytest.mark.parametrize(
    ("kept", "failed"), [(ALL[:1], {ALL[1]: 0x0112}), (ALL[:1], {}), (ALL, {"2.25.3": 1})]
)
def test_what_is_not_kept_is_sent_again_and_parked_if_that_goes_on(database, kept, failed):
    key = awaiting(database)
    assert report(database, kept=kept, failed=failed, most=2) is CommitmentOutcome.SEND_AGAIN
    sent(database, claimed(database, key), transaction_uid="2.25.2")
    assert report(database, "2.25.2", kept, failed, most=2) is CommitmentOutcome.PARKED
    with database.reading() as session:
        assert parked_deliveries(session)[0].error_code == "COMMITMENT_FAILED"


def ask(database, key, uid="2.25.2"):
    with database.transaction() as session:
        return request_commitment(session, key, transaction_uid=uid, repeat_after_s=3600)


def test_a_destination_that_says_nothing_is_asked_again(database):
    key = awaiting(database)
    assert due(database) == []
    assert ask(database, key) is None
    changed(database, key, due_at=long_ago(database))
    assert due(database) == [key]

    request = ask(database, key)
    assert [item.sop_instance_uid for item in request.objects] == ALL
    assert ask(database, key) is None, "a doubled message asks once"
    assert report(database, "2.25.2", ALL) is CommitmentOutcome.COMMITTED


def asked_again(database, key, times):
    """Asked so often, each time without an answer; the pause after the last, in seconds."""
    for number in range(2, 2 + times):
        changed(database, key, due_at=long_ago(database))
        assert ask(database, key, f"2.25.{number}")
    with database.reading() as session:
        row = session.scalars(select(ResultDelivery)).one()
        return (row.due_at - now(session)).total_seconds()


def silent(database):
    with database.reading() as session:
        return [c.code for c in active_conditions(session)]


def test_an_answer_to_an_earlier_question_counts(database):
    key = awaiting(database)
    asked_again(database, key, 3)
    assert report(database, "2.25.1", ALL) is CommitmentOutcome.COMMITTED
    assert states(database) == ["committed"]


def test_one_that_is_silent_is_asked_less_and_less_often_and_told_of(database):
    key = awaiting(database)
    assert asked_again(database, key, 3) == pytest.approx(3600 * 8, abs=100)
    assert silent(database) == []
    assert asked_again(database, key, 0) > 0
    changed(database, key, due_at=long_ago(database))
    assert ask(database, key, "2.25.8").unanswered == 4
    assert silent(database) == ["COMMITMENT_SILENT"]
    assert report(database, "2.25.1", ALL) is CommitmentOutcome.COMMITTED
    assert silent(database) == []


ASKED = "SELECT transaction_uid FROM commitment_asked ORDER BY asked_at, transaction_uid"


def forgotten(database):
    with database.transaction() as session:
        return delete_obsolete_requests(session)


def test_questions_about_what_has_ended_are_forgotten(database):
    awaiting(database)
    assert forgotten(database) == 0, "an answer may still come"
    report(database, kept=ALL)
    assert forgotten(database) == 1
    assert rows(database, ASKED) == []


@pytest.mark.parametrize("state", DeliveryState)
def test_only_what_nobody_waits_for_any_more_has_ended(database, state):
    changed(database, awaiting(database), state=state)
    ended = {"sent", "committed", "superseded", "forgone"}
    assert forgotten(database) == (state in ended)


def test_of_many_questions_the_last_are_kept_and_those_not_taken_go_first(database):
    """An archive that is away for a week is asked each hour, for each result."""
    key = awaiting(database)
    for number in range(2, 2 + REQUESTS_KEPT):
        changed(database, key, due_at=long_ago(database))
        assert ask(database, key, f"2.25.{number}")
        with database.transaction() as session:
            postpone_commitment(session, f"2.25.{number}", failure("rejected", "NO"), delay_s=0)
    kept = {uid for (uid,) in rows(database, ASKED)}
    assert kept == {"2.25.1", *(f"2.25.{number}" for number in range(3, 2 + REQUESTS_KEPT))}
    assert report(database, "2.25.1", ALL) is CommitmentOutcome.COMMITTED


def test_a_failure_reported_of_an_earlier_sending_is_no_news(database):
    key = awaiting(database)
    assert report(database, kept=[], failed={ALL[0]: 0x0112}) is CommitmentOutcome.SEND_AGAIN
    sent(database, claimed(database, key), transaction_uid="2.25.2")
    assert report(database, kept=[], failed={ALL[0]: 0x0112}) is CommitmentOutcome.UNKNOWN
    assert report(database, kept=ALL) is CommitmentOutcome.COMMITTED


def test_what_is_not_kept_yet_is_not_sent_again_at_once(database):
    key = awaiting(database)
    with database.transaction() as session:
        outcome = record_commitment_report(
            session,
            "2.25.1",
            [],
            {ALL[0]: 0x0112},
            max_refusals=3,
            backoff=Backoff(base_s=600, ceiling_s=3600),
        )
    assert outcome is CommitmentOutcome.SEND_AGAIN
    assert due(database) == []
    changed(database, key, due_at=long_ago(database))
    assert due(database) == [key]


def test_one_that_cannot_be_asked_is_asked_later_and_one_that_need_not_be_counts_as_sent(database):
    awaiting(database)
    with database.transaction() as session:
        postpone_commitment(session, "2.25.1", failure("rejected", "NO"), delay_s=0)
    assert len(due(database)) == 1
    with database.transaction() as session:
        cancel_commitment(session, "2.25.1")
    assert states(database) == ["sent"]
