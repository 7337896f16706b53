"""Which queues a worker serves: one that predicts never delivers, however it was started."""

from __future__ import annotations

import types

import pytest

from db.vocabulary.enums import Lane
from worker import tasks
from worker.celery import DELIVERY, make_app
from worker.pipeline.runtime import announce_lanes, announced_lanes
from worker.settings import read_settings


@pytest.fixture
def starting(tmp_path, monkeypatch):
    """Starts a worker of these queues (None: without -Q) as far as its first signal."""
    before = announced_lanes()
    monkeypatch.setattr(tasks, "_configure", lambda: None)

    def start(queues):
        app = make_app(read_settings(state_dir=tmp_path))
        app.amqp.queues.select(queues)
        # A pool of processes loads nothing before its children are there.
        tasks._prepare(types.SimpleNamespace(app=app, pool_cls="prefork"))
        return set(app.amqp.queues.consume_from), announced_lanes()

    yield start
    announce_lanes(before)


def test_without_a_choice_a_worker_serves_every_lane_and_does_not_deliver(starting):
    assert starting(None) == ({*Lane}, tuple(Lane))


def test_one_that_was_told_to_do_both_does_not_deliver(starting):
    assert starting(["stat", DELIVERY]) == ({"stat"}, (Lane.STAT,))


def test_one_that_delivers_serves_no_lane(starting):
    assert starting([DELIVERY]) == ({DELIVERY}, ())
