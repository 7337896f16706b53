"""A condition holds from the first time that it is met until all is well again."""

from __future__ import annotations

from db.ledger.conditions import active_code, active_conditions, end_condition, note_condition


def test_the_same_again_counts_on_and_another_code_begins_anew(database):
    with database.transaction() as session:
        note_condition(session, "destination archive", "AWAY", "It does not answer.")
        note_condition(session, "destination archive", "AWAY", "It does not answer.")
    with database.reading() as session:
        (away,) = active_conditions(session)
    assert (away.code, away.times) == ("AWAY", 2)
    assert away.since < away.seen_at

    with database.transaction() as session:
        note_condition(session, "destination archive", "REFUSES", "It refuses us.")
    with database.reading() as session:
        (refuses,) = active_conditions(session)
    assert (refuses.code, refuses.times) == ("REFUSES", 1)
    assert refuses.since > away.since


def test_what_ended_is_not_shown_and_may_begin_again(database):
    with database.transaction() as session:
        note_condition(session, "intake disk", "DISK_FULL", "Make room.")
        note_condition(session, "destination archive", "AWAY", "It does not answer.")
    with database.transaction() as session:
        assert end_condition(session, "intake disk")
        assert not end_condition(session, "intake disk")
        assert not end_condition(session, "never met")
    with database.reading() as session:
        assert [condition.subject for condition in active_conditions(session)] == [
            "destination archive"
        ]
    with database.transaction() as session:
        note_condition(session, "intake disk", "DISK_FULL", "Make room.")
    with database.reading() as session:
        found = {condition.subject: condition.times for condition in active_conditions(session)}
    assert found == {"destination archive": 1, "intake disk": 1}


def test_a_code_that_holds_was_met_lately_and_has_not_ended(database):
    def holds(codes, seen_within_s=60.0):
        with database.reading() as session:
            return active_code(session, codes, seen_within_s=seen_within_s)

    with database.transaction() as session:
        note_condition(session, "intake disk", "DISK_FULL", "Make room.")
        note_condition(session, "fetching disk", "DISK_FULL", "Make room.")
    assert holds({"DISK_FULL", "AWAY"}) == "DISK_FULL"
    assert holds({"AWAY"}) is None
    assert holds({"DISK_FULL"}, seen_within_s=-60.0) is None, "not met since"
    with database.transaction() as session:
        end_condition(session, "intake disk")
        end_condition(session, "fetching disk")
    assert holds({"DISK_FULL"}) is None
