"""Threads share one budget: never more than it, in the order they came, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.builders.dicom import make_instance
from worker.imaging import decode_budget
from worker.imaging.decode_budget import BYTES_PER_PIXEL, DecodeBudget, DecodeLimits
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.refusals import RefusedInstance

SPEC = PreprocessingSpec(size=32)


def budget_of(pixels: int) -> DecodeBudget:
    """Room for so many pixels at once."""
    room = pixels * BYTES_PER_PIXEL
    return DecodeBudget(DecodeLimits(frame_bytes=room, process_bytes=room))


class Gauge:
    """How many pixels are in decoding, and were at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def add(self, pixels: int) -> None:
        with self._lock:
            self.now += pixels
            self.most = max(self.most, self.now)


@pytest.mark.parametrize("threads", [8, 16])
def test_threads_never_hold_more_than_the_budget(threads: int) -> None:
    budget, gauge = budget_of(100), Gauge()
    sizes = np.random.default_rng(threads).integers(1, 101, 400).tolist()

    def decode(pixels: int) -> int:
        with budget.reserved(pixels):
            gauge.add(pixels)
            threading.Event().wait(0.0005)
            gauge.add(-pixels)
        return pixels

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(decode, sizes)) == sizes
    assert gauge.now == 0
    assert 50 < gauge.most <= 100


def test_who_asks_first_is_served_first_and_a_large_frame_is_not_overtaken() -> None:
    budget = budget_of(10)
    entered: list[int] = []
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.reserved(6):
            holding.set()
            release.wait(30)

    def take(pixels: int) -> None:
        with budget.reserved(pixels):
            entered.append(pixels)

    first = threading.Thread(target=hold)
    first.start()
    assert holding.wait(30)
    waiting = []
    for pixels in (10, 1, 2, 3):  # the small ones would fit beside the first, but came later
        waiting.append(threading.Thread(target=take, args=(pixels,)))
        waiting[-1].start()
        until(lambda: len(budget._waiting) == len(waiting))
    assert entered == []
    release.set()
    for thread in (first, *waiting):
        thread.join(30)
    assert entered[0] == 10
    assert sorted(entered) == [1, 2, 3, 10]


def until(condition) -> None:
    for _ in range(30_000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came to be")


def test_room_is_given_back_when_decoding_fails() -> None:
    budget = budget_of(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), budget.reserved(10):
            raise ValueError("broken")
    with budget.reserved(10):
        pass


def test_a_frame_larger_than_the_budget_is_refused_and_keeps_nobody_waiting() -> None:
    budget = budget_of(1_000_000)
    with (
        pytest.raises(
            RefusedInstance, match=r"takes 16 MB to decode; expected at most 8 MB.*DECODE_FRAME_MB"
        ) as refusal,
        budget.reserved(2_000_000),
    ):
        pass
    assert refusal.value.code == "FRAME_TOO_LARGE"
    with budget.reserved(1_000_000):
        pass


def test_limits_that_are_lowered_refuse_who_waits() -> None:
    budget = budget_of(10)
    ended: list[str] = []

    def take() -> None:
        try:
            with budget.reserved(10):
                ended.append("entered")
        except RefusedInstance as refused:
            ended.append(refused.code)

    with budget.reserved(5):
        waiting = threading.Thread(target=take)
        waiting.start()
        until(lambda: len(budget._waiting) == 1)
        budget.limit(DecodeLimits(frame_bytes=5, process_bytes=5))
        waiting.join(30)
    assert ended == ["FRAME_TOO_LARGE"]


def test_memory_is_reserved_before_a_frame_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.imaging.pixels.decode_frame", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("worker.imaging.pixels.PROCESS_BUDGET", budget_of(159 * 144))
    with pytest.raises(RefusedInstance, match="FRAME_TOO_LARGE"):
        normalise_frame(make_instance(), SPEC)


def test_the_largest_frame_that_is_eligible_fits() -> None:
    with decode_budget.PROCESS_BUDGET.reserved(12_000 * 12_000):
        pass


def test_sixteen_threads_share_a_budget_for_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.imaging.pixels.PROCESS_BUDGET", budget_of(160 * 144))
    alone = [normalise_frame(make_instance(seed=seed), SPEC).pixels for seed in range(16)]
    with ThreadPoolExecutor(16) as threads:
        together = threads.map(
            lambda seed: normalise_frame(make_instance(seed=seed), SPEC).pixels, range(16)
        )
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
