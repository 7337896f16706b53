"""The short form of `make chaos`: every fault once, a crash at every named step, and every promise kept."""

from __future__ import annotations

import pytest

from tests.chaos.run import ChaosPlan, run_chaos


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_lost_and_nothing_happens_twice(tmp_path, database):
    plan = ChaosPlan(seed=11, studies=30, kills=6, postgresql=database == "postgresql", wait_s=120)
    report = run_chaos(plan, tmp_path)
    assert report.wrong == [], "\n".join(report.lines())
