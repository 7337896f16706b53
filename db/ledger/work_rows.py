"""What `study` and `result_delivery`, from whose rows workers take their work, have in common.

Both are outboxes: a row that is due is published, claimed under a lease, and ends, is retried or is
parked. What a step means for the row is said in `db.studies` and `db.deliveries`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db.engine.session import is_transient
from db.engine.statements import lock_rows
from db.ledger.audit import AuditEntry, append_entries
from db.models import ResultDelivery, Study
from db.values.claims import SweptClaim
from db.values.failures import Failure
from db.vocabulary.enums import DeliveryState, StudyState, SweepAction
from db.vocabulary.errors import StaleClaim

WorkRow = TypeVar("WorkRow", Study, ResultDelivery)
CLAIMED = {Study: StudyState.RUNNING, ResultDelivery: DeliveryState.SENDING}
"""The state in which a worker has the row."""


def held_row(session: Session, model: type[WorkRow], row_id: int, token: int) -> WorkRow:
    """Return a claimed row, locked, if attempt `token` still holds it; raise StaleClaim otherwise."""
    held = select(model).where(
        model.id == row_id, model.attempts == token, model.state == CLAIMED[model]
    )
    row = lock_rows(session, held).one_or_none()
    if row is None:
        raise StaleClaim(token)
    return row


def set_error(row: Study | ResultDelivery, failure: Failure) -> None:
    """Write the last failure into the row."""
    row.error_code, row.error_sentence = failure.code, failure.sentence
    row.error_kind, row.traceback_reference = failure.kind, failure.traceback_reference


def clear_error(row: Study | ResultDelivery) -> None:
    """Forget the last failure: all is well again."""
    row.error_code = row.error_sentence = row.error_kind = row.traceback_reference = None


def sweep_expired(
    session: Session,
    expired: Select[*tuple[Any, ...]],
    reclaim: Callable[[Any], tuple[SweepAction, list[AuditEntry]]],
) -> list[SweptClaim]:
    """Take back claims whose lease has run out: their workers died or hang.

    Args:
        session: Of the transaction in which all of it happens.
        expired: Selects id and key of each row (and no more of it: a row that cannot be read then
            fails in its own savepoint). Rows that another relay sweeps just now are skipped.
        reclaim: Moves one row on; returns what it did and what is to be audited.

    A row that cannot be swept is reported as skipped and does not hold up the others.
    """
    swept, entries = [], []
    for row in session.execute(expired.with_for_update(skip_locked=True)).all():
        try:
            with session.begin_nested():
                action, audited = reclaim(row)
        except Exception as error:
            if is_transient(error):  # not the row's fault: the whole sweep is tried again
                raise
            action, audited = SweepAction.SKIPPED, []
        swept.append(SweptClaim(key=row.key, action=action))
        entries += audited
    append_entries(session, entries)
    return swept
