from __future__ import annotations

import base64
import json

import pytest
from celery.worker.consumer.gossip import Gossip
from celery.worker.consumer.mingle import Mingle
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.forged_messages import BODIES, HEADERS, KEY, NO_OBJECT, PARTS, message
from worker.celery import make_app
from worker.messaging.dropped import DroppedMessages
from worker.messaging.form import ForeignMessage, canonical_message
from worker.settings import read_settings

PARSED = {**NO_OBJECT, **PARTS, **HEADERS, **BODIES}


def test_our_own_message_goes_on_with_its_task_argument_and_priority():
    sent = message()
    sent["properties"]["priority"] = 3
    written = canonical_message(sent, "routine")
    assert written["headers"]["task"] == "pneumo.process_study"
    assert written["headers"]["id"] == sent["headers"]["id"]
    assert written["properties"]["priority"] == 3
    assert json.loads(base64.b64decode(written["body"])) == [[KEY], {}, None]


def test_nothing_else_of_a_message_goes_on():
    sent = message()
    sent["headers"] |= {"origin": "planted", "argsrepr": "planted", "shadow": None}
    sent["properties"] |= {"reply_to": "planted", "delivery_tag": "planted"}
    assert "planted" not in json.dumps(canonical_message(sent, "routine"))


def test_two_messages_under_one_tag_get_two():
    sent = message()
    tags = {canonical_message(sent, "stat")["properties"]["delivery_tag"] for _ in range(2)}
    assert len(tags) == 2


@pytest.mark.parametrize("name", PARSED)
def test_a_forged_message_is_refused_in_words_of_ours(name):
    with pytest.raises(ForeignMessage) as met:
        canonical_message(json.loads(PARSED[name]), "routine")
    assert met.value.reason in {
        "no object", "no headers", "no properties", "unknown task", "wrong id",
        "waits, repeats or calls back", "no JSON body", "no body, or too long a one",
        "unreadable body", "wrong arguments", "wrong priority",
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["body", "headers", "properties", "content-type"]))
def test_whatever_stands_in_a_part_is_refused_or_ours(value, part):
    sent = message() | {part: value}
    try:
        canonical_message(sent, "routine")
    except ForeignMessage:
        pass
    else:
        assert value == sent[part]
        assert part == "content-type", "only its case may differ"


@given(JSON)
def test_whatever_is_no_message_is_refused(value):
    with pytest.raises(ForeignMessage):
        canonical_message(value, "routine")


@pytest.mark.parametrize(
    ("task", "queue", "fits"),
    [
        ("pneumo.process_study", "suspect", True),
        ("pneumo.accept", "suspect", False),
        ("pneumo.deliver", "delivery", True),
        ("pneumo.deliver", "stat", False),
        ("pneumo.process_study", "delivery", False),
    ],
)
def test_a_task_belongs_in_its_queues(task, queue, fits):
    if fits:
        assert canonical_message(message(task), queue)["headers"]["task"] == task
    else:
        with pytest.raises(ForeignMessage, match="unknown task"):
            canonical_message(message(task), queue)


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("redis://127.0.0.1:1/0", "GuardedTransport"),
        ("rediss://127.0.0.1:1/0", "GuardedTransport"),
        ("sentinel://127.0.0.1:1", "GuardedSentinelTransport"),
    ],
)
def test_every_kind_of_broker_is_guarded(url, transport, tmp_path):
    app = make_app(read_settings(state_dir=tmp_path, broker_url=url))
    with app.connection_for_read() as connection:
        assert type(connection.transport).__name__ == transport
        assert connection.transport.driver_type not in Gossip.compatible_transports
        assert connection.transport.driver_type not in Mingle.compatible_transports


def test_eight_threads_count_together():
    from concurrent.futures import ThreadPoolExecutor

    dropped = DroppedMessages()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: dropped.add("routine", "no object"), range(800)))
    assert dropped._count == 800
