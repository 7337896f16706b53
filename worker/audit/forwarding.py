"""Forward the audit trail to the site's collector, each record at least once and in its chain's order.

The trail is its own spool: the database remembers how far each chain was sent, and is changed only after
the collector has the messages. What was recorded before a collector was named is not sent by itself
(`pneumo audit export --send` sends it).
"""

from __future__ import annotations

from db.engine.session import Database
from db.ledger.audit_reader import next_records
from db.ledger.chain_heads import forwarded_heads, mark_forwarded, read_heads
from db.values.operations import ChainHead
from worker.audit.dicom_messages import audit_message
from worker.audit.syslog import (
    Collector,
    MessageKind,
    format_message,
    read_collector,
    send_messages,
)
from worker.settings import Settings

BATCH = 500
"""Messages in one connection."""


def forward_records(settings: Settings, database: Database) -> int:
    """Send what each chain has gained; return how many records.

    Raises OSError, with nothing of the last batch counted as sent. Raises Rejected TLS_FILE_UNUSABLE.
    """
    collector = read_collector(settings)
    if collector is None:
        return 0
    with database.reading() as session:
        heads, begun = read_heads(session), forwarded_heads(session)
    new = [head for head in heads if head.chain not in begun]
    if new:
        with database.transaction() as session:
            for head in new:
                mark_forwarded(session, head.chain, head.sequence)
        begun |= {head.chain: head.sequence for head in new}
    return sum(
        _forward_chain(database, collector, head, begun[head.chain], source=settings.ae_title)
        for head in heads
        if head.sequence > begun[head.chain]
    )


def _forward_chain(
    database: Database, collector: Collector, head: ChainHead, after: int, *, source: str
) -> int:
    sent = 0
    while after < head.sequence:
        with database.reading() as session:
            records = next_records(session, head.chain, after, limit=BATCH)
        if not records:  # the chain was cut off: `pneumo audit verify` says so
            return sent
        sent += send_messages(
            collector,
            (
                format_message(MessageKind.AUDIT, audit_message(record, source), record.occurred_at)
                for record in records
            ),
        )
        after = records[-1].sequence
        with database.transaction() as session:
            mark_forwarded(session, head.chain, after)
    return sent
