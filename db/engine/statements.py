"""The one statement that both databases spell in their own dialect module."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_if_new(session: Session, model: type[DeclarativeBase], **values: Any) -> int | None:
    """INSERT .. ON CONFLICT DO NOTHING; the new row's id, or None if a constraint knows it.

    Of several transactions that insert the same at once one wins, and the others wait for its
    commit.
    """
    table = model.__table__
    assert isinstance(table, Table)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(table.c.id)
    row_id: int | None = session.execute(statement).scalar_one_or_none()
    return row_id
