"""kill -9 wherever it hurts: after the restart each instance has one prediction, each study one pair."""

from __future__ import annotations

import pytest

from tests.builders.dicom import make_study
from tests.builders.evidence import assert_everything_happened_once
from tests.builders.installation import LEASE_S
from worker.intake.accept import accept_study


@pytest.mark.parametrize("step", ["decoding", "inference", "after_commit"])
def test_a_worker_killed_at_any_step_costs_nothing(install, tmp_path, step):
    site = install()
    accepted = [
        accept_study(
            make_study(tmp_path / f"study-{n}", n_instances=2),
            database=site.database,
            site=site.settings,
        )
        for n in range(3)
    ]
    site.start_relay()
    doomed = site.start_paused_worker(step)
    site.wait_for(f"worker stands at {step}", site.reached.exists, within_s=90)

    site.kill(doomed)
    site.forget_workers()
    site.start_worker()
    site.wait_until_ready()
    # Nothing but the end of a lease brings a study back in this time (`requeue_after_s` is an hour).
    site.wait_for(
        "all studies done after the restart",
        lambda: site.all_done(len(accepted)),
        within_s=LEASE_S + 10,
    )

    assert_everything_happened_once(site.database, studies=3, instances=6)
