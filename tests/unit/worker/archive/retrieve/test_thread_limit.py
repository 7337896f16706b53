"""Fetches at once: who gets a turn, and when the others come again."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise

import pytest

from worker.archive.retrieve.thread_limit import FIRST_GUESS_S, LATEST_S, SOONEST_S, Turns
from worker.errors import Later


def handed_back(turns: Turns) -> float:
    with pytest.raises(Later) as met, turns.one(stat=False):
        pass
    return met.value.wait_s


def test_so_many_at_once_and_stat_besides():
    turns = Turns(2)
    with turns.one(stat=False), turns.one(stat=False):
        assert handed_back(turns) >= SOONEST_S
        with turns.one(stat=True):
            handed_back(turns)
    with turns.one(stat=False), turns.one(stat=False):
        pass


def test_a_fetch_that_fails_gives_its_turn_back():
    turns = Turns(1)
    with pytest.raises(ConnectionError), turns.one(stat=False):
        raise ConnectionError
    with turns.one(stat=False):
        pass


def test_those_handed_back_come_again_one_after_the_other():
    turns = Turns(2)
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(turns.one(stat=False))
        comes = []
        for _ in range(5):
            handed_back(turns)
            comes.append(turns._last_at)
        apart = [later - sooner for sooner, later in pairwise(comes)]
        assert min(apart) > FIRST_GUESS_S / 2 - 1e-6
        assert max(handed_back(turns) for _ in range(2_000)) <= LATEST_S
