"""The audit trail: sixteen append-only hash chains, and the check that they are intact.

All records of a study are in one chain, chosen by its key, so that results of different studies
seldom wait for one another (one global chain caps PostgreSQL at about 245 transactions a second,
sixteen at about 1600). A chain's head is locked as the LAST thing in a transaction, since the lock is
held across the commit; several heads are locked in ascending order, which excludes deadlocks.

The check finds a changed, removed or inserted record, also at a chain's end. That somebody who may
write to both tables recomputed a whole chain, or cut it and set its head back, is found by signed
checkpoints of the heads that are kept elsewhere (worker/audit).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.engine.canonical import canonical_json, chained_hash
from db.engine.clock import now
from db.models import AuditChainHead, AuditRecord
from db.values import AuditReport
from db.vocabulary.enums import AuditEvent

CHAINS = 16
FIRST_HASH = "0" * 64
"""The previous hash of each chain's first record."""


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A record to append. `detail` holds codes, counts and digests; nothing personal."""

    event: AuditEvent
    """What happened, in the past tense."""
    study_key: str | None
    """The study's opaque key; None if the event concerns no study."""
    actor: str
    """Who did it: a worker's name, a way in, or a person's account."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able."""


def append_entry(
    session: Session,
    event: AuditEvent,
    study_key: str | None,
    detail: Mapping[str, Any],
    actor: str,
) -> None:
    """Append one record. Call this last in the transaction, and commit at once."""
    append_entries(
        session, [AuditEntry(event=event, study_key=study_key, actor=actor, detail=detail)]
    )


def append_entries(session: Session, entries: Sequence[AuditEntry]) -> None:
    """Append records in their order. Call this last in the transaction, and commit at once."""
    if not entries:
        return
    session.flush()
    moment = now(session)
    by_chain = sorted(entries, key=lambda entry: chain_of(entry.study_key))  # stable: order stays
    for chain, members in groupby(by_chain, key=lambda entry: chain_of(entry.study_key)):
        _extend(session, chain, list(members), moment)


def chain_of(study_key: str | None) -> int:
    """Return the chain of a study, 0..15; records that concern no study go into chain 0."""
    if study_key is None:
        return 0
    return hashlib.sha256(study_key.encode()).digest()[0] % CHAINS


def _extend(session: Session, chain: int, entries: list[AuditEntry], moment: datetime) -> None:
    head = session.execute(
        select(AuditChainHead.sequence, AuditChainHead.hash)
        .where(AuditChainHead.chain == chain)
        .with_for_update()
    ).one()
    links = list(_linked(chain, head.sequence, head.hash, entries, moment))
    session.execute(insert(AuditRecord), links)
    session.execute(
        update(AuditChainHead)
        .where(AuditChainHead.chain == chain)
        .values(sequence=links[-1]["sequence"], hash=links[-1]["hash"]),
        execution_options={"synchronize_session": False},
    )


def _linked(
    chain: int, sequence: int, previous_hash: str, entries: list[AuditEntry], moment: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the rows to insert, each with the hash of the one before."""
    for number, entry in enumerate(entries, start=sequence + 1):
        fields = {
            "chain": chain,
            "sequence": number,
            "event": str(entry.event),
            "occurred_at": moment,
            "study_key": entry.study_key,
            "actor": entry.actor,
            "detail": canonical_json(dict(entry.detail)),
        }
        digest = chained_hash(previous_hash, _hashed(fields))
        yield {**fields, "previous_hash": previous_hash, "hash": digest}
        previous_hash = digest


def _hashed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as they are hashed: all but the two hashes, times as UTC text."""
    occurred_at: datetime = fields["occurred_at"]
    names = ("chain", "sequence", "event", "study_key", "actor", "detail")
    text = occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    return {name: fields[name] for name in names} | {"occurred_at": text}


# --- verify ---------------------------------------------------------------------------------------


def verify_chains(
    session: Session, progress: Callable[[int], None] = lambda _: None
) -> AuditReport:
    """Recompute every chain.

    One statement reads heads and records, so that records written meanwhile do not look like a
    break. Memory does not grow with the trail.

    Returns:
        How many records were checked, and a sentence that names the first one (by chain and number)
        that is not intact.
    """
    records, seen = 0, set()
    rows = session.execute(_EVERYTHING.execution_options(yield_per=1000))
    try:
        for chain, links in groupby(rows, key=lambda row: row.head_chain):
            seen.add(chain)
            checked, broken = _check(chain, _counted(links, progress))
            records += checked
            if broken:
                return AuditReport(ok=False, records=records, first_broken=broken)
    except (ValueError, TypeError):  # SQLite lets any column hold any text
        broken = (
            f"Chain {max(seen, default=0)} or the next: a record holds values that no record has."
        )
        return AuditReport(ok=False, records=records, first_broken=broken)
    missing = sorted(set(range(CHAINS)) - seen)
    if missing:
        sentence = f"The head of chain {missing[0]} is missing, so its end cannot be known."
        return AuditReport(ok=False, records=records, first_broken=sentence)
    return AuditReport(ok=True, records=records, first_broken=None)


_EVERYTHING = (
    select(
        AuditChainHead.chain.label("head_chain"),
        AuditChainHead.sequence.label("head_sequence"),
        AuditChainHead.hash.label("head_hash"),
        *AuditRecord.__table__.columns,
    )
    .outerjoin(AuditRecord, AuditRecord.chain == AuditChainHead.chain)
    .order_by(AuditChainHead.chain, AuditRecord.sequence)
)


def _counted(rows: Iterator[Any], progress: Callable[[int], None]) -> Iterator[Any]:
    """Yield the rows and report the progress now and then, since a bar costs more than a hash."""
    count = 0
    for row in rows:
        yield row
        count += 1
        if count % 1000 == 0:
            progress(1000)
    progress(count % 1000)


def _check(chain: int, rows: Iterator[Any]) -> tuple[int, str | None]:
    """Return how many records of one chain are intact, and a sentence about the first that is not."""
    intact, previous_hash, row = 0, FIRST_HASH, None
    for row in rows:
        if row.sequence is None:  # a chain without records: the outer join's empty row
            break
        if fault := _fault(row, intact + 1, previous_hash):
            return intact, f"Chain {chain}, record {intact + 1}: {fault}"
        intact, previous_hash = intact + 1, row.hash
    if row is not None and (intact, previous_hash) != (row.head_sequence, row.head_hash):
        return intact, _fault_at_end(chain, intact, row.head_sequence)
    return intact, None


def _fault(row: Any, expected: int, previous_hash: str) -> str | None:
    if row.sequence < expected:
        return f"a record with number {row.sequence} was inserted, which cannot be the next one."
    if row.sequence > row.head_sequence:
        return f"record {row.sequence} was inserted after the chain's end, {row.head_sequence}."
    if row.sequence > expected:
        return f"it was removed; the next record is number {row.sequence}."
    if row.previous_hash != previous_hash:
        return (
            f"its previous hash is not that of record {expected - 1}; one of the two was replaced."
        )
    if row.hash != chained_hash(previous_hash, _hashed(row._asdict())):
        return f"its content ({row.event}) was changed after it was written."
    return None


def _fault_at_end(chain: int, intact: int, head: int) -> str:
    if intact < head:
        return (
            f"Chain {chain}, record {intact + 1}: it was removed, with all records after it up to "
            f"{head}."
        )
    return (
        f"Chain {chain}, record {intact}: the chain's head does not match it; one of the two was "
        "replaced."
    )
