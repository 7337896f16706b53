"""Each frame gets its own answer or its own error; STAT goes first; nothing hangs."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.waiting import scaled, wait_until
from worker.errors import Bug, Transient
from worker.model.batching import MicroBatcher
from worker.model.predictor import Score


def item(value: float) -> torch.Tensor:
    return torch.full((3, 2, 2), float(value))


def score(value: float) -> Score:
    return Score(logit=float(value), probability=0.5)


class Network:
    """Answers with each item's own value; remembers batches; can be held; fails on 13."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()

    def __call__(self, batch: torch.Tensor) -> list[Score]:
        self.entered.set()
        assert self.go.wait(scaled(10))
        values = batch[:, 0, 0, 0].tolist()
        self.batches.append(values)
        if 13.0 in values:
            raise ValueError("thirteen")
        return [score(v) for v in values]


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def batcher(network):
    batcher = MicroBatcher(network, max_batch=4, linger_s=0.005, capacity=8)
    yield batcher
    network.go.set()
    batcher.close()


def hold(network, batcher):
    """Keep the inference thread busy with one item, so that what follows queues up."""
    network.go.clear()
    busy = batcher.submit(item(99))
    assert network.entered.wait(scaled(5))
    return busy


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.integers(0, 12), max_size=30), stats=st.lists(st.booleans(), min_size=30))
def test_each_item_gets_its_own_answer_from_any_number_of_threads(values, stats):
    batcher = MicroBatcher(Network(), max_batch=4, linger_s=0.001, capacity=8)
    answers = [batcher.submit(item(v), stat=s) for v, s in zip(values, stats, strict=False)]
    assert [a.result(scaled(10)).logit for a in answers] == values
    batcher.close()


def test_what_waits_becomes_one_batch(network, batcher):
    hold(network, batcher)
    answers = [batcher.submit(item(v)) for v in (1, 2, 3)]
    network.go.set()
    assert [a.result(scaled(5)).logit for a in answers] == [1, 2, 3]
    assert network.batches == [[99], [1, 2, 3]]


def test_stat_goes_first_and_each_lane_keeps_its_order(network, batcher):
    hold(network, batcher)
    answers = [batcher.submit(item(v)) for v in (1, 2, 3, 4)]
    answers += [batcher.submit(item(v), stat=True) for v in (5, 6)]
    network.go.set()
    for answer in answers:
        answer.result(scaled(5))
    assert network.batches[1:] == [[5, 6, 1, 2], [3, 4]]


def test_a_bad_item_fails_alone(network, batcher):
    hold(network, batcher)
    good, bad, other = (batcher.submit(item(v)) for v in (1, 13, 2))
    network.go.set()
    assert (good.result(scaled(5)).logit, other.result(scaled(5)).logit) == (1, 2)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(scaled(5))
    assert batcher.submit(item(3)).result(scaled(5)).logit == 3, "the thread outlives an error"


def test_a_full_queue_makes_the_submitter_wait(network, batcher):
    hold(network, batcher)
    for value in range(8):
        batcher.submit(item(value))
    late = []
    thread = threading.Thread(target=lambda: late.append(batcher.submit(item(7))))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive(), "the ninth must wait"
    network.go.set()
    thread.join(scaled(5))
    assert late[0].result(scaled(5)).logit == 7


def test_closing_fails_what_waits(network, batcher):
    hold(network, batcher)
    waiting = batcher.submit(item(1))
    closer = threading.Thread(target=batcher.close)
    closer.start()
    with pytest.raises(Transient, match="tried again by itself"):
        waiting.result(scaled(5))
    network.go.set()
    closer.join(scaled(5))
    assert not closer.is_alive()


def test_closing_may_answer_what_waits_first(network, batcher):
    hold(network, batcher)
    answers = [batcher.submit(item(v)) for v in range(6)]
    closer = threading.Thread(target=lambda: batcher.close(finish=True))
    closer.start()
    network.go.set()
    assert [a.result(scaled(5)).logit for a in answers] == list(range(6))
    closer.join(scaled(5))
    assert not closer.is_alive()


def test_nothing_is_taken_after_closing(batcher):
    batcher.close()
    with pytest.raises(Transient, match="BATCHER_CLOSED"):
        batcher.submit(item(1))


def test_closing_wakes_a_submitter_that_waits_for_room(network, batcher):
    hold(network, batcher)
    for value in range(8):
        batcher.submit(item(value))
    raised = []

    def submit() -> None:
        try:
            batcher.submit(item(1))
        except Transient as error:
            raised.append(error.code)

    thread = threading.Thread(target=submit)
    thread.start()
    time.sleep(0.05)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    thread.join(scaled(5))
    assert raised == ["BATCHER_CLOSED"]
    network.go.set()
    closer.join(scaled(5))


def test_it_says_how_long_it_has_been_stuck(network, batcher):
    assert batcher.stuck_for() == 0.0
    busy = hold(network, batcher)
    time.sleep(0.05)
    assert batcher.stuck_for() >= 0.05
    network.go.set()
    busy.result(scaled(5))
    wait_until(lambda: batcher.stuck_for() == 0.0)


def test_a_cancelled_frame_is_not_predicted_and_harms_no_other(network, batcher):
    hold(network, batcher)
    unwanted, wanted = batcher.submit(item(1)), batcher.submit(item(2))
    assert unwanted.cancel()
    network.go.set()
    assert wanted.result(scaled(5)) == score(2)
    assert batcher.submit(item(3)).result(scaled(5)) == score(3)
    assert 1.0 not in [value for batch in network.batches for value in batch]


def test_frames_cancelled_before_closing_do_not_stop_it(network, batcher):
    hold(network, batcher)
    batcher.submit(item(1)).cancel()
    waiting = batcher.submit(item(2))
    closer = threading.Thread(target=batcher.close)
    closer.start()
    with pytest.raises(Transient, match="BATCHER_CLOSED"):
        waiting.result(scaled(5))
    network.go.set()
    closer.join(scaled(5))
    assert not closer.is_alive()


def test_a_missing_score_is_an_error_and_the_thread_lives_on():
    answers = iter([[], [score(2)]])
    batcher = MicroBatcher(lambda _: next(answers), linger_s=0)
    with pytest.raises(Bug, match="0 scores for 1 frames; expected one each"):
        batcher.submit(item(1)).result(scaled(5))
    assert batcher.submit(item(2)).result(scaled(5)) == score(2)
    batcher.close()
