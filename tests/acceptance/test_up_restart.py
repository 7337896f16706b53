"""`pneumo up`: everything on one machine, killed with work waiting, found again by the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.dicom import make_study
from tests.builders.evidence import assert_everything_happened_once
from tests.builders.installation import ROOT
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from worker.intake.accept import accept_study, wait_for_studies
from worker.settings import read_settings


class Up:
    """`pneumo up` as a process."""

    def __init__(self, settings) -> None:
        self.log = settings.state_dir / "up.txt"
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
                env={**os.environ, **settings.as_environment()},
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
        def is_said() -> bool:
            assert self.process.poll() is None, self.said()
            return self.said().count(words) >= times

        wait_until(is_said, within_s=150, what=self.said, every_s=0.2)


@pytest.fixture
def settings(tmp_path):
    settings = read_settings(
        state_dir=tmp_path,
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        listen_port=free_port(),
        lease_s=scaled(5),
        lease_renewal_s=scaled(1.5),
        requeue_after_s=scaled(5),
        wrong_images="warn",  # the pictures are drawn
        shadow=False,
    )
    upgrade(settings.database_url)
    return settings


def test_a_killed_installation_finds_everything_again(settings, tmp_path):
    database = Database(settings.database_url)
    keys = [
        accept_study(
            make_study(tmp_path / f"study-{n}", n_instances=1), database=database, site=settings
        ).study_key
        for n in range(12)
    ]
    first = Up(settings)
    first.wait_until_said("pneumo is up")
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(children, timeout=scaled(10))
    assert alive == [], "children outlived a killed supervisor"

    second = Up(settings)
    try:
        second.wait_until_said("pneumo is up", times=2)
        second.child("worker.cli relay").kill()
        second.wait_until_said("The relay was killed by signal 9 and is restarted at once.")
        results = wait_for_studies(database, keys, timeout_s=scaled(60))
    finally:
        second.process.send_signal(signal.SIGINT)
        code = second.process.wait(timeout=scaled(90))

    assert code == 0, second.said()
    assert "Stopped." in second.said()
    assert {result.state.value for result in results} == {"done"}
    assert_everything_happened_once(database, studies=12, instances=12)
    database.dispose()
