"""From a row to a value: most fields have their column's name."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def from_row(kind: type[Value], row: Any, **others: Any) -> Value:
    """Build a value from the row's attributes of the same names.

    Args:
        kind: The dataclass to build.
        row: A row of the ORM or of a SELECT.
        **others: Fields that no column gives, or not under that name.

    Returns:
        The value, with every field set.

    Raises:
        AttributeError: The row lacks a column for a field that is not among `others`.

    Example:
        >>> from_row(ClaimedInstance, row, prior=(), file_removed=False)
    """
    names = (field.name for field in fields(kind) if field.name not in others)
    return kind(**{name: getattr(row, name) for name in names}, **others)
