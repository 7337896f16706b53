"""A task that shows no progress for longer than its limit is reported, and no other is."""

from __future__ import annotations

import threading
import time

from worker.pipeline.watchdog import Watchdog


def watched(hangs: threading.Event, said: list):
    def on_hang(event, **details):
        said.append((event, details["task"]))
        hangs.set()

    return Watchdog(interval_s=0.01, on_hang=on_hang)


def test_a_task_that_hangs_is_reported_and_its_neighbour_is_not():
    hangs, said = threading.Event(), []
    watchdog = watched(hangs, said)
    with watchdog.watch("deliver", limit_s=600), watchdog.watch("accept", limit_s=0.05):
        assert hangs.wait(timeout=30)
    assert set(said) == {("worker_hangs", "accept")}


def test_progress_restarts_the_limit():
    hangs, said = threading.Event(), []
    watchdog = watched(hangs, said)
    with watchdog.watch("accept", limit_s=5) as report_progress:
        (task,) = watchdog._running.values()
        for _ in range(20):
            task.progressed_at = time.monotonic() - 4.9
            report_progress()
            assert time.monotonic() - task.progressed_at < 4
        task.progressed_at = time.monotonic() - 6
        assert hangs.wait(timeout=30)


def test_a_task_that_ended_is_not_watched_any_more():
    hangs, said = threading.Event(), []
    watchdog = watched(hangs, said)
    with watchdog.watch("accept", limit_s=0.02):
        pass
    time.sleep(0.2)
    assert said == []
