"""`pneumo demo` says what is not as it should be, and its exit code says that something is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from db.engine.session import Database
from tests.builders.database import one
from tests.builders.installation import ROOT
from tests.builders.waiting import wait_until


class Demo:
    """`pneumo demo` as a process of its own, in a folder of its own."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "demo"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PNEUMO_SHADOW": "false"},
            stdout=(folder / "said.txt").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def worker(self) -> psutil.Process | None:
        """The process that runs stock celery, if there is one now."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if "stat,routine" in child.cmdline():
                        return child
        return None

    def attempts(self) -> int:
        """How many studies were taken up."""
        url = f"sqlite:///{self.folder / 'demo-state' / 'pneumo.sqlite'}"
        database = Database(url)
        try:
            return int(one(database, "SELECT count(*) FROM inference_run"))
        finally:
            database.dispose()

    def wait_while(self, holds: Callable[[], bool], within_s: float) -> None:
        wait_until(
            lambda: self.process.poll() is not None or not holds(),
            within_s,
            what=self.said,
            every_s=0.05,
        )

    def said(self) -> str:
        return " ".join((self.folder / "said.txt").read_text(errors="replace").split())


@pytest.fixture
def demo(tmp_path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    if demo.process.poll() is None:
        demo.process.kill()
    demo.process.wait()


def test_a_demo_without_a_worker_says_so(demo):
    def keep_it_away() -> bool:
        if (worker := demo.worker()) is not None:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        return True

    demo.wait_while(keep_it_away, within_s=90)
    assert demo.process.returncode == 1
    assert "NOT_READY The worker does not start" in demo.said()
    assert "Traceback" not in demo.said()


def test_a_worker_that_dies_on_the_way_is_told_and_its_studies_come_back(demo):
    log = demo.folder / "demo-state" / "logs" / "listener.log"
    demo.wait_while(lambda: not log.exists() or "listener_started" not in log.read_text(), 120)
    demo.wait_while(lambda: demo.attempts() == 0, 60)
    demo.worker().kill()
    demo.wait_while(lambda: True, within_s=150)
    said = demo.said()
    assert demo.process.returncode == 1, said
    assert "FAILED The worker was killed by signal 9 and is restarted at once." in said
    assert said.count("FAILED") == 1  # every study has its result all the same
