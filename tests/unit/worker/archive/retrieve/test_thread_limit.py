"""Retrievals at once: which study gets a slot, and when the others are tried again."""

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


def postponed_s(limit: RetrieveLimit) -> float:
    with pytest.raises(Postponed) as met, limit.slot(stat=False):
        pass
    return met.value.wait_s


def test_so_many_at_once_and_stat_besides():
    limit = RetrieveLimit(2)
    with limit.slot(stat=False), limit.slot(stat=False):
        assert postponed_s(limit) >= MIN_WAIT_S
        with limit.slot(stat=True):
            postponed_s(limit)
    with limit.slot(stat=False), limit.slot(stat=False):
        pass


def test_a_retrieval_that_fails_releases_its_slot():
    limit = RetrieveLimit(1)
    with pytest.raises(ConnectionError), limit.slot(stat=False):
        raise ConnectionError
    with limit.slot(stat=False):
        pass


def test_postponed_studies_are_tried_again_one_after_the_other():
    limit = RetrieveLimit(2)
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(limit.slot(stat=False))
        retried_at = []
        for _ in range(5):
            postponed_s(limit)
            retried_at.append(limit._last_at)
        apart = [later - sooner for sooner, later in pairwise(retried_at)]
        assert min(apart) > INITIAL_MEAN_S / 2 - 1e-6
        assert max(postponed_s(limit) for _ in range(2_000)) <= MAX_WAIT_S
