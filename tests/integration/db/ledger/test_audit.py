from __future__ import annotations

from contextlib import contextmanager

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from db.ledger.audit import FIRST_HASH, AuditEntry, append_entries, chain_of, verify_chains
from db.models import AuditRecord
from db.vocabulary.enums import AuditEvent
from tests.builders.database import (
    accept_many,
    digest,
    finish_one,
    one,
    rows,
    uid_of,
    without_triggers,
)

KEY = "0" * 32
CHAIN = chain_of(KEY)


@pytest.fixture
def trail(database):
    """A trail with a chain of five records."""
    accept_many(database, 3)
    with database.transaction() as session:
        append_entries(
            session,
            [
                AuditEntry(
                    event=AuditEvent.STUDY_RECEIVED_AGAIN,
                    study_key=KEY,
                    actor="test",
                    detail={"number": number},
                )
                for number in range(5)
            ],
        )
    with database.reading() as session:
        assert verify_chains(session).ok
    return database


@pytest.fixture
def first(trail):
    """Number of the chain's first record of ours (another study may share the chain)."""
    return one(
        trail,
        "SELECT min(sequence) FROM audit_record WHERE study_key = :key",
        key=KEY,
    )


def test_every_event_is_written_as_it_is_called(database):
    entries = [
        AuditEntry(event=event, study_key=KEY, actor="test", detail={}) for event in AuditEvent
    ]
    with database.transaction() as session:
        append_entries(session, entries)
    written = rows(database, "SELECT event FROM audit_record ORDER BY id")
    assert [event for (event,) in written] == [event.name.lower() for event in AuditEvent]
    with database.reading() as session:
        assert verify_chains(session).ok


@contextmanager
def tampering(database):
    with without_triggers(database) as connection:
        yield lambda sql, **values: connection.execute(text(sql), values)


def check(database):
    with database.reading() as session:
        return verify_chains(session)


def test_an_empty_trail_stands(database):
    report = check(database)
    assert (report.ok, report.records, report.first_broken) == (True, 0, None)


def test_each_record_follows_from_the_one_before(trail):
    links = rows(
        trail,
        "SELECT previous_hash, hash FROM audit_record WHERE chain = :chain ORDER BY sequence",
        chain=CHAIN,
    )
    assert links[0][0] == FIRST_HASH
    assert [previous for previous, _ in links[1:]] == [own for _, own in links[:-1]]
    head = rows(trail, "SELECT sequence, hash FROM audit_chain_head WHERE chain = :c", c=CHAIN)
    assert head == [(len(links), links[-1][1])]


@pytest.mark.parametrize(
    "change",
    [
        "detail = '{}'",
        "actor = 'somebody else'",
        "event = 'study_finished'",
        "study_key = NULL",
        "hash = :other",
    ],
)
def test_a_changed_record_is_found_and_named(trail, first, change):
    with tampering(trail) as run:
        run(
            f"UPDATE audit_record SET {change} WHERE chain = :chain AND sequence = :sequence",
            chain=CHAIN,
            sequence=first + 2,
            **({"other": digest("other")} if ":other" in change else {}),
        )

    report = check(trail)

    assert not report.ok
    assert report.first_broken.startswith(f"Chain {CHAIN}, record {first + 2}: its content")


def test_a_changed_moment_is_found(trail, first):
    with tampering(trail) as run:
        run(
            "UPDATE audit_record SET occurred_at = '2001-02-03 04:05:06.000000'"
            " WHERE chain = :chain AND sequence = :sequence",
            chain=CHAIN,
            sequence=first,
        )

    assert f"record {first}: its content" in check(trail).first_broken


def test_a_record_removed_from_the_middle_is_named(trail, first):
    with tampering(trail) as run:
        run(
            "DELETE FROM audit_record WHERE chain = :chain AND sequence = :sequence",
            chain=CHAIN,
            sequence=first + 1,
        )

    report = check(trail)

    assert report.first_broken == (
        f"Chain {CHAIN}, record {first + 1}: it was removed; the next record is number {first + 2}."
    )


def test_records_removed_from_the_end_are_named(trail, first):
    with tampering(trail) as run:
        run(
            "DELETE FROM audit_record WHERE chain = :chain AND sequence >= :sequence",
            chain=CHAIN,
            sequence=first + 3,
        )

    assert check(trail).first_broken == (
        f"Chain {CHAIN}, record {first + 3}: it was removed, with all records after it up to {first + 4}."
    )


def test_a_chain_removed_as_a_whole_is_named(trail):
    with tampering(trail) as run:
        run("DELETE FROM audit_record WHERE chain = :chain", chain=CHAIN)

    assert f"Chain {CHAIN}, record 1: it was removed" in check(trail).first_broken


@pytest.mark.parametrize("place", ["after the end", "before the beginning"])
def test_an_inserted_record_is_named(trail, first, place):
    """Even with a triple of hashes that is right in itself."""
    sequence = first + 5 if place == "after the end" else 0
    with without_triggers(trail) as connection:
        connection.execute(
            text(
                "INSERT INTO audit_record (chain, sequence, event, occurred_at, study_key, actor,"
                " detail, previous_hash, hash) SELECT chain, :new, event, occurred_at, study_key,"
                " actor, detail, hash, :hash FROM audit_record"
                " WHERE chain = :chain AND sequence = :last"
            ),
            {"new": sequence, "hash": digest("x"), "chain": CHAIN, "last": first + 4},
        )

    report = check(trail)

    assert not report.ok
    assert "was inserted" in report.first_broken
    assert f"Chain {CHAIN}, record" in report.first_broken


def test_a_record_put_in_the_place_of_another_is_found(trail, first):
    """Removed, and another inserted under its number with hashes that fit its own content."""
    with trail.transaction() as session:
        old = session.query(AuditRecord).filter_by(chain=CHAIN, sequence=first + 1).one()
        values = {
            column.name: getattr(old, column.name)
            for column in AuditRecord.__table__.columns
            if column.name != "id"
        }
    from db.engine.canonical import chained_hash
    from db.ledger.audit import _hashed

    values["detail"] = '{"number":999}'
    values["hash"] = chained_hash(values["previous_hash"], _hashed(values))
    with tampering(trail) as run:
        run(
            "DELETE FROM audit_record WHERE chain = :chain AND sequence = :sequence",
            chain=CHAIN,
            sequence=first + 1,
        )
    with trail.transaction() as session:
        session.execute(insert(AuditRecord).values(**values))

    assert check(trail).first_broken.startswith(f"Chain {CHAIN}, record {first + 2}: its previous")


def test_a_replaced_head_is_found(trail, first):
    with tampering(trail) as run:
        run(
            "UPDATE audit_chain_head SET hash = :hash WHERE chain = :chain",
            hash=digest("other"),
            chain=CHAIN,
        )

    assert f"Chain {CHAIN}, record {first + 4}: the chain's head" in check(trail).first_broken


def test_a_missing_head_is_found(trail):
    with tampering(trail) as run:
        run("DELETE FROM audit_chain_head WHERE chain = 3")

    assert check(trail).first_broken == (
        "The head of chain 3 is missing, so its end cannot be known."
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_chain_head SET sequence = sequence - 1 WHERE sequence > 0",
        "UPDATE audit_chain_head SET hash = 'other' WHERE sequence > 0",
        "UPDATE audit_chain_head SET chain = 15 - chain",
        "UPDATE audit_chain_head SET sequence = 0, hash = 'other'",
        "DELETE FROM audit_chain_head",
        "INSERT INTO audit_chain_head (chain, sequence, hash) VALUES (1, 1, 'x')",
    ],
)
def test_a_head_is_neither_set_back_nor_removed(trail, statement):
    with (
        pytest.raises(DBAPIError, match="audit_chain_head only grows"),
        trail.transaction() as session,
    ):
        session.execute(text(statement))


def test_of_several_breaks_the_first_is_named(trail):
    finish_one(trail, uid=uid_of(99))
    with tampering(trail) as run:
        run("UPDATE audit_record SET actor = 'somebody else'")

    smallest = one(trail, "SELECT min(chain) FROM audit_record")
    assert check(trail).first_broken.startswith(f"Chain {smallest}, record 1: ")


def test_what_was_written_by_one_database_is_checked_the_same_by_the_other():
    """The hash is over text that no database touches; these digits must never change."""
    from datetime import UTC, datetime

    from db.ledger.audit import _linked

    entry = AuditEntry(
        event=AuditEvent.STUDY_ACCEPTED, study_key=KEY, actor="test", detail={"b": 1.5, "a": "é"}
    )
    (row,) = _linked(5, 0, FIRST_HASH, [entry], datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC))

    assert row["detail"] == '{"a":"\\u00e9","b":1.5}'
    import hashlib

    hashed = (
        '{"actor":"test","chain":5,"detail":"{\\"a\\":\\"\\\\u00e9\\",\\"b\\":1.5}",'
        '"event":"study_accepted","occurred_at":"2026-01-02T03:04:05.000600+00:00",'
        f'"sequence":1,"study_key":"{KEY}"}}'
    )
    assert row["hash"] == hashlib.sha256(("0" * 64 + hashed).encode()).hexdigest()
