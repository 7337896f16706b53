"""Canonical JSON: equal values give equal characters, so that a hash over them is meaningful."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return the value as JSON in ASCII, with sorted keys and without spaces.

    Raises:
        ValueError: The value holds NaN or an infinity.
        TypeError: JSON has no such type, or a key is no string (`json` would turn 1 into "1").

    Example:
        >>> canonical_json({"b": 1, "a": "ü"})
        '{"a":"\\u00fc","b":1}'
    """
    _refuse_other_keys(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def chained_hash(previous_hash: str, fields: dict[str, Any]) -> str:
    """Return SHA-256 (64 hex digits) over the previous link's hash and this link's canonical JSON."""
    return hashlib.sha256((previous_hash + canonical_json(fields)).encode("ascii")).hexdigest()


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"Keys of canonical JSON are strings; got {type(key).__name__}.")
            _refuse_other_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_other_keys(inner)
