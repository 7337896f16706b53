"""What the relay does for the audit trail beside its work: checkpoints, and messages to the collector."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from db.values.operations import ChainHead
from worker.archive.repeating_thread import RepeatingThread
from worker.audit.checkpoint_file import append_note, sign_checkpoint
from worker.audit.forwarding import forward_records
from worker.audit.signed_note import read_signer
from worker.audit.syslog import MessageKind, format_message, read_collector, send_messages
from worker.errors import Rejected
from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

INTERVAL_S = 5.0
"""Between two looks for new records."""
CHECKPOINTS, COLLECTOR = "audit checkpoints", "audit collector"


class CheckpointWriter:
    """Writes a checkpoint whenever one is due and something was recorded since the last."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._due_at = -math.inf
        self._heads: tuple[ChainHead, ...] = ()

    def run_once(self) -> None:
        """Write a checkpoint if one is due; a failure becomes a condition and is tried again."""
        if self._settings.audit_key is None or time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + self._settings.audit_checkpoint_s
        try:
            written = self._write()
        except (OSError, Rejected) as error:
            why = error.sentence if isinstance(error, Rejected) else type(error).__name__
            _note(
                self._database,
                CHECKPOINTS,
                "AUDIT_CHECKPOINT_FAILED",
                f"No checkpoint of the audit trail could be written: {why} Check PNEUMO_AUDIT_KEY and "
                "PNEUMO_AUDIT_CHECKPOINT_FILE.",
            )
            return
        if written:
            _end(self._database, CHECKPOINTS)

    def _write(self) -> bool:
        assert self._settings.audit_key is not None
        signer = read_signer(self._settings.audit_key)
        checkpoint, note = sign_checkpoint(self._database, signer)
        if checkpoint.heads == self._heads:
            return False
        append_note(self._settings.checkpoint_file, note)
        self._heads = checkpoint.heads
        log.info("audit_checkpoint_written", records=checkpoint.records)
        self._send(note)
        return True

    def _send(self, note: str) -> None:
        """Send a copy to the collector, where whoever changes this machine cannot reach it."""
        collector = read_collector(self._settings)
        if collector is None:
            return
        message = format_message(MessageKind.CHECKPOINT, note, datetime.now(UTC))
        try:
            send_messages(collector, [message])
        except OSError as error:
            note_collector_away(self._database, error)


class AuditForwarder:
    """Sends new records to the collector; the trail itself is the spool."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database

    def run_once(self) -> None:
        """Send what is new; while the collector is away nothing is lost, and a condition says so."""
        if not self._settings.audit_collector:
            return
        try:
            sent = forward_records(self._settings, self._database)
        except (OSError, Rejected) as error:
            note_collector_away(self._database, error)
            return
        if sent:
            log.info("audit_forwarded", records=sent)
            _end(self._database, COLLECTOR)


class AuditKeeper(RepeatingThread):
    """The relay's thread for both, so that a collector that does not answer delays no study."""

    def __init__(
        self, settings: Settings, database: Database, *, interval_s: float = INTERVAL_S
    ) -> None:
        steps = (
            CheckpointWriter(settings, database).run_once,
            AuditForwarder(settings, database).run_once,
        )
        super().__init__(
            "audit-keeper", steps, interval_s=interval_s, failure_event="audit_turn_failed"
        )


def note_collector_away(database: Database, error: Exception) -> None:
    """Record that the collector cannot be reached."""
    why = error.sentence if isinstance(error, Rejected) else type(error).__name__
    _note(
        database,
        COLLECTOR,
        "AUDIT_COLLECTOR_AWAY",
        f"Audit messages cannot be sent ({why}). They wait in the database and are sent when the collector is "
        "back; check PNEUMO_AUDIT_COLLECTOR.",
    )


def _note(database: Database, subject: str, code: str, sentence: str) -> None:
    log.warning("audit_keeper_failed", code=code)
    with database.transaction() as session:
        note_condition(session, subject, code, sentence)


def _end(database: Database, subject: str) -> None:
    with database.transaction() as session:
        end_condition(session, subject)
