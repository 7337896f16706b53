"""The short form of `make chaos`: a few faults and crashes at named steps, and every promise kept.

The seeds are chosen so that both runs together have faults of most kinds; the long form has all.
"""

from __future__ import annotations

import pytest

from tests.chaos.run import ChaosPlan, run_chaos


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("database", "seed"), [("sqlite", 1), ("postgresql", 3)])
def test_nothing_is_lost_and_nothing_happens_twice(tmp_path, database, seed):
    plan = ChaosPlan(
        seed=seed,
        studies=16,
        kills=0,
        steps=4,
        faults=5,
        postgresql=database == "postgresql",
        wait_s=120,
    )
    report = run_chaos(plan, tmp_path / "run")
    assert report.wrong == [], "\n".join(report.lines())
    assert report.steps == plan.steps
