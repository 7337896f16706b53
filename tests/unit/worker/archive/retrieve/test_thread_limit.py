"""Fetches at once: who gets a turn, and when the others come again."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise

import pytest

from worker.archive.retrieve.thread_limit import (
    INITIAL_MEAN_S,
    MAX_WAIT_S,
    MIN_WAIT_S,
    RetrieveLimit,
)
from worker.errors import Postponed


def handed_back(turns: RetrieveLimit) -> float:
    with pytest.raises(Postponed) as met, turns.slot(stat=False):
        pass
    return met.value.wait_s


def test_so_many_at_once_and_stat_besides():
    turns = RetrieveLimit(2)
    with turns.slot(stat=False), turns.slot(stat=False):
        assert handed_back(turns) >= MIN_WAIT_S
        with turns.slot(stat=True):
            handed_back(turns)
    with turns.slot(stat=False), turns.slot(stat=False):
        pass


def test_a_fetch_that_fails_gives_its_turn_back():
    turns = RetrieveLimit(1)
    with pytest.raises(ConnectionError), turns.slot(stat=False):
        raise ConnectionError
    with turns.slot(stat=False):
        pass


def test_those_handed_back_come_again_one_after_the_other():
    turns = RetrieveLimit(2)
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(turns.slot(stat=False))
        comes = []
        for _ in range(5):
            handed_back(turns)
            comes.append(turns._last_at)
        apart = [later - sooner for sooner, later in pairwise(comes)]
        assert min(apart) > INITIAL_MEAN_S / 2 - 1e-6
        assert max(handed_back(turns) for _ in range(2_000)) <= MAX_WAIT_S
