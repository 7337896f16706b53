"""One way to write a value as JSON, so that a hash over it means something."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """ASCII, keys sorted, no spaces: equal values give equal characters.

    Raises ValueError for NaN and infinities, TypeError for what JSON does not know or for keys that
    are no strings (JSON would quietly turn 1 into "1").
    """
    _refuse_other_keys(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def chained_hash(previous_hash: str, fields: dict[str, Any]) -> str:
    """SHA-256 (64 hex digits) over the previous link's hash and this link's canonical JSON."""
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
