"""The one form that our messages have (docs/bridges.md), and the check that a message has it.

Celery trusts what lies in the broker: a number instead of an object, an `eta` of the year 9999 or a
callback ends the worker or stays unacknowledged for ever (issue 11). So nothing of a received message
is handed on but three values that were checked: the task's name, its one argument, its priority. Around
them the message is written anew.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from worker.messaging.names import QUEUES_OF_TASK

MAX_BODY_CHARACTERS = 4096
"""Of the encoded body; ours has 60."""
MAX_ARGUMENT_CHARACTERS = 200
"""Of the one argument; a key has 32."""
ID = re.compile(r"[0-9A-Za-z-]{1,64}")
"""A task's id, as Celery and bridges make it."""
MUST_BE_EMPTY = ("eta", "expires", "group", "chain", "retries", "timelimit", "shadow", "stamps")
"""Headers by which Celery would wait, repeat, rename or call somebody: a message of ours has none."""
_EMPTY: tuple[Any, ...] = (None, 0, [], {}, "", [None, None])


class ForeignMessage(Exception):
    """A message that has not our form; the reason is one of a few fixed words, never its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def canonical_message(message: Any, queue: str) -> dict[str, Any]:
    """Write a received message anew from what is ours in it.

    Args:
        message: What the broker gave, parsed from JSON; anything at all.
        queue: The queue it lay in, without prefix.

    Returns:
        A message of Celery's protocol 2 in kombu's virtual form, with a delivery tag of our own.

    Raises:
        ForeignMessage: It has not our form.
    """
    headers = _mapping(_mapping(message, "no object").get("headers"), "no headers")
    properties = _mapping(message.get("properties"), "no properties")
    task = headers.get("task")
    if not isinstance(task, str) or queue not in QUEUES_OF_TASK.get(task, ()):
        raise ForeignMessage("unknown task")
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not ID.fullmatch(task_id):
        raise ForeignMessage("wrong id")
    if any(headers.get(name) not in _EMPTY for name in MUST_BE_EMPTY):
        raise ForeignMessage("waits, repeats or calls back")
    if str(message.get("content-type")).lower() != "application/json":
        raise ForeignMessage("no JSON body")
    argument = _one_argument(message.get("body"), properties.get("body_encoding"))
    return _written(task, task_id, argument, queue, _priority(properties.get("priority")))


def _mapping(value: Any, reason: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ForeignMessage(reason)
    return value


def _one_argument(body: Any, encoding: Any) -> str:
    """Return the one argument of a body `[[argument], {}, nothing]`."""
    if not isinstance(body, str) or not 0 < len(body) <= MAX_BODY_CHARACTERS:
        raise ForeignMessage("no body, or too long a one")
    try:
        text = base64.b64decode(body, validate=True) if encoding == "base64" else body
        decoded = json.loads(text)
    except (ValueError, RecursionError):  # wrong base64, UTF-8 or JSON; brackets without end
        raise ForeignMessage("unreadable body") from None
    match decoded:
        case [[str(argument)], {**options}, embedded] if not options and not _says(embedded):
            pass
        case _:
            raise ForeignMessage("wrong arguments")
    if not 0 < len(argument) <= MAX_ARGUMENT_CHARACTERS:
        raise ForeignMessage("wrong arguments")
    return argument


def _says(embedded: Any) -> bool:
    """Return whether Celery's third part of a body holds callbacks, a chain or a chord."""
    if isinstance(embedded, dict):
        return any(value not in _EMPTY for value in embedded.values())
    return embedded is not None


def _priority(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ForeignMessage("wrong priority")
    return value


def _written(task: str, task_id: str, argument: str, queue: str, priority: int) -> dict[str, Any]:
    body = json.dumps([[argument], {}, None]).encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "argsrepr": "[key]",  # what a log of Celery's would print
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": None,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": priority,
            "body_encoding": "base64",
            # A tag of our own: two messages with one tag would acknowledge each other.
            "delivery_tag": str(uuid.uuid4()),
        },
    }
