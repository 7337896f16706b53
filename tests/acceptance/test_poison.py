"""A file that crashes the decoder's process is parked; its neighbours are predicted."""

from __future__ import annotations

import numpy as np

from tests.builders.dicom import make_study
from tests.builders.installation import POISON_ROWS
from tests.builders.waiting import scaled
from worker.intake.accept import accept_study


def test_the_poisonous_study_is_parked_alone(install, tmp_path):
    site = install(lease_s=scaled(3.0), lease_renewal_s=scaled(1.0))
    innocents = [
        accept_study(
            make_study(tmp_path / f"s{n}", n_instances=1),
            database=site.database,
            site=site.settings,
        )
        for n in range(6)
    ]
    poison = accept_study(
        make_study(
            tmp_path / "poison",
            n_instances=1,
            pixels=np.arange(POISON_ROWS * 320, dtype=np.uint16).reshape(POISON_ROWS, 320) % 4096,
        ),
        database=site.database,
        site=site.settings,
    )
    site.start_relay()
    workers = [("stat,routine", "threads", 4), ("suspect", "solo", 1)]
    running = {lanes: start(site, lanes, pool, n) for lanes, pool, n in workers}

    def settled() -> bool:
        """Do what a supervisor does: start again what died; true when nothing is open."""
        for lanes, pool, threads in workers:
            if running[lanes].poll() is not None:
                running[lanes] = start(site, lanes, pool, threads)
        return site.one("SELECT count(*) FROM study WHERE state NOT IN ('done', 'parked')") == 0

    site.wait_for("every study settled", settled, within_s=200)

    parked = site.rows(
        "SELECT study_key, error_code, verdict, crashes_alone FROM study WHERE state = 'parked'"
    )
    assert parked == [(poison.study_key, "CRASHED_WORKER", "failed", 2)]
    assert site.one("SELECT count(*) FROM prediction") == len(innocents)
    alone = site.rows(
        "SELECT outcome FROM inference_run r JOIN study s ON s.id = r.study_id"
        " WHERE s.study_key = :key AND r.lane = 'suspect'",
        key=poison.study_key,
    )
    assert alone == [("crashed",), ("crashed",)]


def start(site, lanes: str, pool: str, threads: int):
    return site.start_crashing_worker(lanes=lanes, pool=pool, threads=threads)
