"""Statements that many verbs share: locking rows, changing many in order, inserting what is new."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ScalarResult, Select, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

WITHOUT_SESSION_SYNC = {"synchronize_session": False}
"""Rows are changed in the database; no verb reads an object that it changed this way."""

Row = TypeVar("Row")


def lock_rows(session: Session, query: Select[Row]) -> ScalarResult[Row]:
    """Read rows as they are now and lock them until the transaction ends."""
    locking = query.with_for_update().execution_options(populate_existing=True)
    return session.scalars(locking)


def update_in_order(
    session: Session, model: Any, *conditions: ColumnElement[bool], **values: Any
) -> int:
    """Change all rows that meet the conditions; return how many.

    They are locked by ascending id, so that two relays that change many never wait in a ring.
    """
    rows = select(model.id).where(*conditions).order_by(model.id).with_for_update()
    changed = session.execute(
        update(model).where(model.id.in_(rows)).values(**values).returning(model.id),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(changed.all())


def insert_if_new(session: Session, model: type[DeclarativeBase], **values: Any) -> int | None:
    """INSERT .. ON CONFLICT DO NOTHING; return the new row's id, or None if a constraint knows it.

    Both databases spell it in their own dialect module. Of several transactions that insert the same
    at once one wins, and the others wait for its commit.
    """
    table = model.__table__
    assert isinstance(table, Table)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(table.c.id)
    row_id: int | None = session.execute(statement).scalar_one_or_none()
    return row_id
