"""What a STOW-RS server says that it stored (PS3.18 10.5.3, annex I.2), object by object.

A result counts as sent only if the answer names every object that we sent. The HTTP status alone
says too little: 202 means "some of them" as well as "all, with warnings", and a proxy's page comes
with 200.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from worker.delivery.errors import fails, refuses, refuses_result
from worker.delivery.senders.c_store import DUPLICATE, failure_of_status

FAILED_SOP_SEQUENCE, FAILURE_REASON = "00081198", "00081197"
OTHER_FAILURES_SEQUENCE = "0008119A"
REFERENCED_SOP_SEQUENCE, WARNING_REASON = "00081199", "00081196"
REFERENCED_SOP_INSTANCE_UID = "00081155"


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One object in an answer."""

    uid: str | None
    number: int | None
    """Its reason, of failure or of warning."""


def check_answer(status: int, body: bytes, sent: Collection[str], name: str) -> str | None:
    """Return the warning's reason, if there was one; raise unless all is stored.

    `sent` are the SOP Instance UIDs that we sent. Table 10.5.3-1: 200 all stored, 202 some or with
    warnings, 409 none. A duplicate is there already, which is all we want. Raises DestinationFailed;
    Rejected DESTINATION_REFUSES_RESULT.
    """
    answer = _read(body)
    if status in (200, 202, 409) and answer:
        return _check_objects(status, answer, sent, name)
    if status == 200 and not body.strip():  # "all stored", and nothing to add to it
        return None
    if status in (200, 202):
        raise fails(name, f"HTTP {status}, and its answer does not say what it stored")
    if status in (400, 409, 413, 415, 422):
        raise refuses_result(name, f"HTTP {status}")
    if 300 <= status < 500 and status not in (408, 429):
        raise refuses(name, f"it answers HTTP {status}")
    raise fails(name, f"it answers HTTP {status}")


def _check_objects(
    status: int, answer: dict[str, Any], sent: Collection[str], name: str
) -> str | None:
    failed = list(_items(answer, FAILED_SOP_SEQUENCE, FAILURE_REASON))
    duplicates = [item for item in failed if item.number == DUPLICATE]
    failures = [item for item in failed if item.number != DUPLICATE]
    failures += _items(answer, OTHER_FAILURES_SEQUENCE, FAILURE_REASON)
    if failures:
        reasons = [item.number for item in failures if item.number is not None]
        if not reasons:
            raise refuses_result(name, f"HTTP {status}, {len(failures)} object(s) without a reason")
        raise failure_of_status(reasons[0], name, f"{len(failures)} object(s)")
    stored = list(_items(answer, REFERENCED_SOP_SEQUENCE, WARNING_REASON))
    named = {item.uid for item in (*stored, *duplicates)}
    missing = [uid for uid in sent if uid not in named]
    if missing and status == 409:
        raise refuses_result(name, f"HTTP {status}")
    if missing:
        raise fails(
            name, f"HTTP {status} without a word about {len(missing)} of {len(sent)} objects"
        )
    warnings = [item.number for item in (*stored, *duplicates) if item.number]
    return f"{warnings[0]:04X}" if warnings else None


def _read(body: bytes) -> dict[str, Any]:
    """Return the answer's data set (PS3.18 F.2); an empty one if it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}


def _items(answer: dict[str, Any], sequence: str, tag: str) -> Iterator[_Item]:
    """Yield every item of a sequence (PS3.18 F.2.3); one that says nothing is an item, too."""
    element = answer.get(sequence)
    values = element.get("Value") if isinstance(element, dict) else None
    for item in values if isinstance(values, list) else []:
        uid = _first(item, REFERENCED_SOP_INSTANCE_UID)
        yield _Item(uid=uid if isinstance(uid, str) else None, number=_number(_first(item, tag)))


def _first(item: object, tag: str) -> object:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _number(value: object) -> int | None:
    """US is a number (PS3.18 table F.2.3-1); some services write it as a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) else None
