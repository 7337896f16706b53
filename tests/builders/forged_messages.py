"""Messages that somebody who reaches the broker could write: none has exactly our form."""

from __future__ import annotations

import base64
import copy
import json
import uuid
from typing import Any

KEY = "0123456789abcdef" * 2


def encoded(value: Any) -> str:
    """The body of a message, as Celery encodes it."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def message(task: str = "pneumo.process_study", argument: Any = KEY) -> dict[str, Any]:
    """A message of exactly our form."""
    identifier = str(uuid.uuid4())
    return {
        "body": encoded([[argument], {}, None]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": identifier},
        "properties": {
            "correlation_id": identifier,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "routine"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


GONE = object()
"""In place of a value: the key is missing."""


def changed(path: str, value: Any) -> bytes:
    """Our form with one value replaced; `path`: keys with dots between them."""
    made = copy.deepcopy(message())
    *parents, last = path.split(".")
    place = made
    for parent in parents:
        place = place[parent]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return json.dumps(made).encode()


def body(value: Any) -> bytes:
    """Our form with another decoded body."""
    return changed("body", encoded(value))


CALLBACK = {"task": "pneumo.process_study", "args": [KEY], "kwargs": {}, "options": {}}

NOT_PARSED = {
    "empty": b"",
    "a word": b"hello",
    "half an object": b'{"body": ',
    "invalid UTF-8": b"\xff\xfe{}",
    "UTF-16": json.dumps(message()).encode("utf-16"),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b"[" * 50_000 + b"]" * 50_000,
    "a pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a number of 5,000 digits": b"9" * 5_000,
    "a type that kombu does not know": b'{"__type__": "nothing", "__value__": 1}',
}
NO_OBJECT = {
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "a string": b'"pneumo"',
    "a list": b"[]",
    "an empty object": b"{}",
    "not a number": b"NaN",
}
PARTS = {
    "no headers": changed("headers", GONE),
    "headers null": changed("headers", None),
    "headers a list": changed("headers", ["task"]),
    "headers a number": changed("headers", 7),
    "no properties": changed("properties", GONE),
    "properties null": changed("properties", None),
    "properties a string": changed("properties", "x"),
    "no body": changed("body", GONE),
    "body null": changed("body", None),
    "body a number": changed("body", 7),
    "body an object": changed("body", {"task": "x"}),
    "body empty": changed("body", ""),
    "body no base64": changed("body", "%%%"),
    "body too long": changed("body", "A" * 100_000),
    "content type pickle": changed("content-type", "application/x-python-serialize"),
    "content type missing": changed("content-type", GONE),
}
HEADERS = {
    "no task": changed("headers.task", GONE),
    "unknown task": changed("headers.task", "os.system"),
    "task a dict": changed("headers.task", {"a": 1}),
    "task a list": changed("headers.task", []),
    "celery's own task": changed("headers.task", "celery.backend_cleanup"),
    "task of another queue": changed("headers.task", "pneumo.deliver"),
    "no id": changed("headers.id", GONE),
    "id a dict": changed("headers.id", {"a": 1}),
    "id a number": changed("headers.id", 7),
    "id with a line break": changed("headers.id", "a\nb"),
    "ETA of the year 9999": changed("headers.eta", "9999-12-31T23:59:59+00:00"),
    "ETA a word": changed("headers.eta", "soon"),
    "expires a dict": changed("headers.expires", {"a": 1}),
    "timelimit a word": changed("headers.timelimit", "long"),
    "timelimit negative": changed("headers.timelimit", [-1, -1]),
    "retries a word": changed("headers.retries", "many"),
    "a group": changed("headers.group", "g"),
    "stamps": changed("headers.stamps", {"a": [1]}),
    "priority a word": changed("properties.priority", "high"),
    "priority beyond": changed("properties.priority", 1_000_000),
}
BODIES = {
    "body of a number": body(7),
    "body of null": body(None),
    "body of two parts": body([[KEY], {}]),
    "arguments an object": body([{"a": 1}, {}, None]),
    "no argument": body([[], {}, None]),
    "two arguments": body([[KEY, KEY], {}, None]),
    "an argument that is a list": body([[[KEY]], {}, None]),
    "an argument too long": body([["a" * 1_000], {}, None]),
    "keyword arguments": body([[KEY], {"study_key": KEY}, None]),
    "callbacks": body([[KEY], {}, {"callbacks": [CALLBACK], "errbacks": None}]),
    "a chord": body([[KEY], {}, {"chord": CALLBACK}]),
    "protocol 1": json.dumps({**message(), "headers": {}, "body": encoded({"task": "x"})}).encode(),
}
FORGED = {**NOT_PARSED, **NO_OBJECT, **PARTS, **HEADERS, **BODIES}
"""Name -> what is pushed."""
