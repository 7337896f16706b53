"""What all tables have in common."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Float,
    MetaData,
    String,
)
from sqlalchemy.orm import DeclarativeBase

from db.engine.columns import NAMING_CONVENTION, UtcDateTime


class Base(DeclarativeBase):
    """All tables share one naming convention and one way to store a moment."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime(), float: Float(53), str: String()}  # noqa: RUF012
