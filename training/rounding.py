"""Figures as JSON keeps them: to what such sets can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLACES = 5


def rounded(value: Any) -> Any:
    """Floats to five places, in lists and mappings too; tuples become lists, as JSON has them."""
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [rounded(each) for each in value]
    return value
