"""What the tables have in common."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.engine.columns import NAMING_CONVENTION, UtcDateTime, stored_by_value
from db.vocabulary.enums import FailureKind


class Base(DeclarativeBase):
    """The base of all tables: one naming convention, and one way to store a time."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime(), float: Float(53), str: String()}  # noqa: RUF012


class LastError:
    """The columns of the last failure, empty after a success."""

    error_code: Mapped[str | None]
    error_sentence: Mapped[str | None] = mapped_column(Text)
    error_kind: Mapped[FailureKind | None] = mapped_column(
        stored_by_value(FailureKind, "error_kind")
    )
    traceback_reference: Mapped[str | None]

    def clear_error(self) -> None:
        """Clear them after a success."""
        self.error_code = self.error_sentence = self.error_kind = self.traceback_reference = None
