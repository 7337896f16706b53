"""`pneumo up`: everything on one machine, killed with work waiting, found again by the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.dicom import make_study
from tests.builders.evidence import assert_everything_happened_once
from tests.builders.installation import ROOT, free_port
from worker.intake.accept import accept_study, wait_for_studies
from worker.settings import read_settings


class Up:
    """`pneumo up` as a process."""

    def __init__(self, site) -> None:
        self.log = site.state_dir / "up.txt"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                # As a script's `pneumo up &` starts it: with SIGINT ignored.
                [
                    "sh",
                    "-c",
                    'trap "" INT; exec "$@"',
                    "sh",
                    sys.executable,
                    "-m",
                    "worker.cli",
                    "up",
                    "-c",
                    "2",
                ],
                cwd=ROOT,
                env={**os.environ, **site.as_environment()},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def child(self, words: str) -> psutil.Process:
        """The part whose command holds these words."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if words in " ".join(child.cmdline()))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_said(self, words: str, times: int = 1) -> None:
        until = time.monotonic() + 150
        while self.said().count(words) < times:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.2)


@pytest.fixture
def site(tmp_path):
    site = read_settings(
        state_dir=tmp_path,
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        listen_port=free_port(),
        lease_s=5,
        lease_renewal_s=1.5,
        requeue_after_s=5,
    )
    upgrade(site.database_url)
    return site


def test_a_killed_installation_finds_everything_again(site, tmp_path):
    database = Database(site.database_url)
    keys = [
        accept_study(
            make_study(tmp_path / f"study-{n}", n_instances=1), database=database, site=site
        ).study_key
        for n in range(12)
    ]
    first = Up(site)
    first.wait_until_said("pneumo is up")
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == [], "children outlived a killed supervisor"

    second = Up(site)
    try:
        second.wait_until_said("pneumo is up", times=2)
        second.child("worker.cli relay").kill()
        second.wait_until_said("The relay was killed by signal 9 and is restarted at once.")
        results = wait_for_studies(database, keys, timeout_s=60)
    finally:
        second.process.send_signal(signal.SIGINT)
        code = second.process.wait(timeout=90)

    assert code == 0, second.said()
    assert "Stopped." in second.said()
    assert {result.state.value for result in results} == {"done"}
    assert_everything_happened_once(database, studies=12, instances=12)
    database.dispose()
