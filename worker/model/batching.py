"""The micro-batch queue: many decoding threads before it, one inference thread behind it.

A worker's threads each decode a study of their own and put frames here. The one thread that may
touch the network takes what waits, STAT first, and runs it as a batch: the batch grows with the
load by itself, and each frame gets its own answer or its own error.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from worker.errors import Bug, Transient
from worker.model.predictor import Score

Predict = Callable[[torch.Tensor], Sequence[Score]]
"""(N, 3, S, S) -> N scores in the same order."""


@dataclass(order=True, kw_only=True)
class _Waiting:
    """An item in the queue; ordered by urgency, then by arrival."""

    rank: int
    arrival: int
    item: torch.Tensor = field(compare=False)
    answer: Future[Score] = field(compare=False)


STAT, ROUTINE = 0, 1


class MicroBatcher:
    """A bounded queue and the one inference thread behind it."""

    def __init__(
        self, predict: Predict, *, max_batch: int = 16, linger_s: float = 0.01, capacity: int = 64
    ) -> None:
        """`capacity`: how many items may wait; `submit` blocks while there are as many."""
        self._predict = predict
        self._max_batch = max_batch
        self._linger_s = linger_s
        self._capacity = capacity
        self._heap: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._running: list[_Waiting] = []
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, item: torch.Tensor, *, stat: bool = False) -> Future[Score]:
        """Queue one input. Blocks while the queue is full.

        Args:
            item: float32 (3, S, S).
            stat: Whether it goes before routine inputs.

        Returns:
            The score, once the batch with this input was computed.

        Raises:
            Transient: BATCHER_CLOSED if it is closed, also while waiting for room.
        """
        answer: Future[Score] = Future()
        with self._changed:
            while len(self._heap) >= self._capacity and not self._closing:
                self._changed.wait()
            if self._closing:
                raise _closed()
            if not self._heap and not self._running:
                self._since = time.monotonic()
            rank = STAT if stat else ROUTINE
            waiting = _Waiting(rank=rank, arrival=next(self._arrivals), item=item, answer=answer)
            heapq.heappush(self._heap, waiting)
            self._changed.notify_all()
        return answer

    def close(self, *, finish: bool = False) -> None:
        """End the thread. `finish`: answer what waits first; else it fails with Transient."""
        with self._changed:
            self._closing = True
            dropped = [] if finish else self._heap[:]
            if not finish:
                self._heap.clear()
            self._changed.notify_all()
        for waiting in dropped:
            if waiting.answer.set_running_or_notify_cancel():
                _fail(waiting, _closed())
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def stuck_for(self) -> float:
        """Seconds since the last answer while something waits or runs; 0 when idle."""
        with self._changed:
            busy = bool(self._heap or self._running)
            return time.monotonic() - self._since if busy else 0.0

    def _run(self) -> None:
        while batch := self._next_batch():
            self._answer([w for w in batch if w.answer.set_running_or_notify_cancel()])
            with self._changed:
                self._running, self._since = [], time.monotonic()

    def _next_batch(self) -> list[_Waiting]:
        """Return the most urgent items, at least one; empty when closed and worked off."""
        with self._changed:
            while not self._heap and not self._closing:
                self._changed.wait()
            until = time.monotonic() + self._linger_s
            while self._may_linger() and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            count = min(len(self._heap), self._max_batch)
            self._running = [heapq.heappop(self._heap) for _ in range(count)]
            self._changed.notify_all()
            return self._running

    def _may_linger(self) -> bool:
        """Return whether waiting a little may fill the batch and delays nobody who is urgent."""
        if self._closing or len(self._heap) >= self._max_batch or not self._heap:
            return False
        return self._heap[0].rank != STAT

    def _answer(self, batch: list[_Waiting]) -> None:
        """Give each item its score; if the batch fails as a whole, ask one by one who is to blame."""
        if not batch:  # all were cancelled by those who had asked
            return
        try:
            scores = self._predict(torch.stack([waiting.item for waiting in batch]))
            _require_one_each(batch, scores)
        except BaseException as error:  # noqa: BLE001  the thread must outlive every batch
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for waiting in batch:
                self._answer([waiting])
            return
        for waiting, score in zip(batch, scores, strict=True):
            waiting.answer.set_result(score)


def _fail(waiting: _Waiting, error: BaseException) -> None:
    waiting.answer.set_exception(error)


def _require_one_each(batch: Sequence[_Waiting], scores: Sequence[Score]) -> None:
    if len(scores) != len(batch):
        raise Bug(
            "SCORES_MISSING",
            f"The predictor gave {len(scores)} scores for {len(batch)} frames; expected one each. "
            "Nothing was predicted; report this.",
        )


def _closed() -> Transient:
    return Transient(
        "BATCHER_CLOSED",
        "The inference queue was closed (shutdown, or a change of model) before this frame was "
        "predicted; the study is tried again by itself.",
    )
