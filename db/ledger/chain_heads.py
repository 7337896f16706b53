"""The ends of the audit chains, as checkpoints pin them, and how far the chains were forwarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from db.engine.statements import upsert
from db.models import AuditChainHead, AuditForwarded, AuditRecord
from db.values.operations import ChainHead


def read_heads(session: Session) -> tuple[ChainHead, ...]:
    """Return the heads of all chains in their order."""
    rows = session.execute(
        select(AuditChainHead.chain, AuditChainHead.sequence, AuditChainHead.hash).order_by(
            AuditChainHead.chain
        )
    )
    return tuple(ChainHead(chain=row.chain, sequence=row.sequence, hash=row.hash) for row in rows)


def recorded_hashes(session: Session, heads: Sequence[ChainHead]) -> Mapping[tuple[int, int], str]:
    """Return the hashes of the records that these were heads of, by chain and number, if there are."""
    wanted = [
        and_(AuditRecord.chain == head.chain, AuditRecord.sequence == head.sequence)
        for head in heads
    ]
    if not wanted:
        return {}
    query = select(AuditRecord.chain, AuditRecord.sequence, AuditRecord.hash).where(or_(*wanted))
    return {(row.chain, row.sequence): row.hash for row in session.execute(query)}


def forwarded_heads(session: Session) -> dict[int, int]:
    """Return the number of the last forwarded record of each chain that was begun."""
    rows = session.execute(select(AuditForwarded.chain, AuditForwarded.sequence))
    return {row.chain: row.sequence for row in rows}


def mark_forwarded(session: Session, chain: int, sequence: int) -> None:
    """Remember that the collector has this chain up to this record."""
    upsert(
        session,
        AuditForwarded,
        {"chain": chain, "sequence": sequence},
        key="chain",
        update={"sequence": sequence},
    )
