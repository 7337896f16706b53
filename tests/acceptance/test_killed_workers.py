"""kill -9 wherever it hurts: after the restart each instance has one prediction, each study one pair."""

from __future__ import annotations

import pytest

from db.audit import verify
from tests.acceptance.installation import LEASE_S
from tests.builders import make_study
from worker.intake.accept import accept_study


@pytest.mark.parametrize("step", ["decoding", "inference", "after_commit"])
def test_a_worker_killed_at_any_step_costs_nothing(install, tmp_path, step):
    site = install()
    accepted = [
        accept_study(
            make_study(tmp_path / f"study-{n}", n_instances=2),
            database=site.database,
            site=site.site,
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
    seconds = site.wait_for(
        "all studies done after the restart",
        lambda: site.all_done(len(accepted)),
        within_s=LEASE_S + 10,
    )

    assert seconds <= LEASE_S + 10
    assert_everything_happened_once(site, studies=3, instances=6)


def assert_everything_happened_once(site, *, studies: int, instances: int) -> None:
    """One prediction per instance, one accepted/finished pair per study, an unbroken chain."""
    assert site.one("SELECT count(*) FROM prediction") == instances
    assert site.one("SELECT count(DISTINCT instance_id) FROM prediction") == instances
    events = dict(
        site.rows(
            "SELECT event, count(*) FROM audit_record WHERE study_key IS NOT NULL GROUP BY event"
        )
    )
    assert events["study_accepted"] == studies
    assert events["study_finished"] == studies
    assert events["prediction_recorded"] == instances
    pairs = site.rows(
        "SELECT study_key, event, count(*) FROM audit_record"
        " WHERE event IN ('study_accepted', 'study_finished') GROUP BY study_key, event"
    )
    assert {count for _, _, count in pairs} == {1}
    with site.database.transaction() as session:
        report = verify(session)
    assert report.ok, report
