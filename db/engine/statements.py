"""Statements that the ORM does not spell by itself: upserts, row locks, long lists in batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ScalarResult, Select, Table, select
from sqlalchemy import update as update_rows
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

WITHOUT_SESSION_SYNC = {"synchronize_session": False}
"""Rows are changed in the database; no verb reads an object that it changed this way."""

Row = TypeVar("Row")

BATCH_SIZE = 500
"""Values in one statement; databases limit how many parameters a statement has."""


def insert_if_new(session: Session, model: type[DeclarativeBase], **values: Any) -> int | None:
    """INSERT .. ON CONFLICT DO NOTHING.

    Of several transactions that insert the same row at once one wins, and the others wait for its
    commit.

    Returns:
        The new row's id; None if a unique constraint already holds such a row.
    """
    table = model.__table__
    assert isinstance(table, Table)
    statement = _insert(session)(table).values(**values).on_conflict_do_nothing()
    row_id: int | None = session.execute(statement.returning(table.c.id)).scalar_one_or_none()
    return row_id


def upsert(
    session: Session,
    model: type[DeclarativeBase],
    values: Mapping[str, Any],
    *,
    key: str,
    update: Mapping[str, Any],
) -> None:
    """INSERT .. ON CONFLICT DO UPDATE: insert `values`, or apply `update` to the row with this key.

    Args:
        session: The running transaction.
        model: The table.
        values: Columns of a new row, the key among them.
        key: Name of the column whose value identifies the row.
        update: Columns to set if the row exists; SQL expressions may refer to its present values.
    """
    session.execute(
        _insert(session)(model)
        .values(**values)
        .on_conflict_do_update(index_elements=[key], set_=dict(update))
    )


def lock_one(session: Session, query: Select[Row]) -> Row | None:
    """Return the query's only row, locked until the commit and read anew; None if there is none."""
    return lock_rows(session, query).one_or_none()


def lock_rows(session: Session, query: Select[Row]) -> ScalarResult[Row]:
    """Return the query's rows, locked until the commit and read anew."""
    locked = query.with_for_update().execution_options(populate_existing=True)
    return session.scalars(locked)


def update_in_order(
    session: Session, model: Any, *conditions: ColumnElement[bool], **values: Any
) -> int:
    """Change all rows that meet the conditions; return how many.

    They are locked by ascending id, so that two relays that change many never wait in a ring.
    """
    rows = select(model.id).where(*conditions).order_by(model.id).with_for_update()
    changed = session.execute(
        update_rows(model).where(model.id.in_(rows)).values(**values).returning(model.id),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(changed.all())


def batches(values: Collection[str]) -> Iterator[Sequence[str]]:
    """Yield the values in pieces of at most BATCH_SIZE, each short enough for one statement."""
    rest = list(values)
    for start in range(0, len(rest), BATCH_SIZE):
        yield rest[start : start + BATCH_SIZE]


def _insert(session: Session) -> Any:
    """Return the `insert` of the dialect: the two databases spell ON CONFLICT in their own modules."""
    return sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
