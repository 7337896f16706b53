"""Keep named processes alive, and stop them in order.

A part that dies is restarted, at once the first time and with growing pauses while it keeps dying.
Children die with this process (worker/local/die_with_parent.py), so `watch` and `start` belong
to the main thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from worker.local.log_files import truncate_long_logs
from worker.logging import get_logger
from worker.settings import without_settings

log = get_logger(__name__)

TICK_S = 0.2
"""Seconds between two checks of the children."""
MAX_RESTART_DELAY_S = 30.0
"""Longest pause before a part that keeps dying is restarted."""
STABLE_AFTER_S = 60.0
"""A part that has run so long counts as healthy: its next death is a first one."""
LOG_CHECK_INTERVAL_S = 60.0
"""Seconds between two checks of the size of the logs."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process of an installation."""

    name: str
    """Name of the process and of its log."""
    command: tuple[str, ...]
    """Command line to run."""
    grace_s: float = 10.0
    """Seconds that it may take to stop after SIGTERM, before SIGKILL."""
    is_expected_to_exit: bool = False
    """Whether being killed by what it reads is this part's purpose (the suspect worker): after a death
    by a signal it is restarted without a pause. When it exits by itself it is like any other part."""


@dataclass
class SupervisedProcess:
    """A part's current process."""

    part: ProcessSpec
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    """How often it died in a row without being healthy in between; expected deaths do not count."""
    due: float | None = None
    """When to restart it; None while it runs."""


@dataclass
class Supervisor:
    """Runs parts until `close`, in the order in which they were started."""

    log_dir: Path
    environment: Mapping[str, str]
    """Added to this process's environment, of which no PNEUMO_* setting is passed on."""
    on_death: Callable[[str], None] = lambda _: None
    """Called with a sentence for each death."""
    children: dict[str, SupervisedProcess] = field(default_factory=dict)
    _next_log_check: float = 0.0

    def start(self, part: ProcessSpec) -> None:
        """Start a part and keep it alive from now on."""
        self.children[part.name] = SupervisedProcess(
            part=part, process=self._launch(part), started=time.monotonic()
        )

    def watch(self, until: Callable[[], bool]) -> None:
        """Keep every part alive until `until()` is true."""
        while not until():
            self.check_children()
            time.sleep(TICK_S)

    def check_children(self) -> None:
        """Check each child once, restart what is due, and now and then truncate long logs."""
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK_INTERVAL_S
            truncate_long_logs(self.log_dir)
        for child in self.children.values():
            if child.due is None and child.process.poll() is not None:
                self._note_death(child)
            if child.due is not None and time.monotonic() >= child.due:
                child.process = self._launch(child.part)
                child.started, child.due = time.monotonic(), None

    def crash_looping(self, times: int = 3) -> SupervisedProcess | None:
        """Return a part that died so many times in a row, if there is one."""
        return next((child for child in self.children.values() if child.deaths >= times), None)

    def close(self) -> None:
        """Stop the parts, last started first, each within its grace period."""
        for child in reversed(self.children.values()):
            if child.process.poll() is None:
                child.process.terminate()
                try:
                    child.process.wait(timeout=child.part.grace_s)
                except subprocess.TimeoutExpired:
                    log.warning("part_killed", part=child.part.name, grace_s=child.part.grace_s)
                    child.process.kill()
                    child.process.wait()
        self.children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def last_line(self, name: str) -> str:
        """Return the last line of a part's log, to say why it does not start."""
        log = self.log_dir / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "nothing"

    def _launch(self, part: ProcessSpec) -> subprocess.Popen[bytes]:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_dir / f"{part.name}.log"
        tied = (sys.executable, "-m", "worker.local.die_with_parent", str(os.getpid()))
        with path.open("ab") as out:
            return subprocess.Popen(  # noqa: S603  commands are our own
                [*tied, *part.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**without_settings(os.environ), **self.environment},
                # Ctrl-C in the terminal is for the supervisor, which stops the parts in order.
                start_new_session=True,
            )

    def _note_death(self, child: SupervisedProcess) -> None:
        now, code = time.monotonic(), child.process.returncode
        pause = 0.0
        if not (child.part.is_expected_to_exit and code < 0):
            child.deaths = 1 if now - child.started > STABLE_AFTER_S else child.deaths + 1
            pause = restart_delay_s(child.deaths)
        child.due = now + pause
        with structlog.contextvars.bound_contextvars(part=child.part.name):
            log.warning("part_died", code=code, again_in_s=pause)
        again = f"in {pause:.0f} s" if pause else "at once"
        self.on_death(f"The {child.part.name} {describe_exit(code)} and is restarted {again}.")


def restart_delay_s(deaths: int) -> float:
    """Return the pause in seconds before the restart after so many deaths in a row: 0, 1, 3, 7 … 30."""
    # The exponent is bounded: 2.0 ** 1024 is an OverflowError, a bad night of deaths away.
    return min(2.0 ** min(deaths - 1, 10) - 1, MAX_RESTART_DELAY_S)


def describe_exit(code: int) -> str:
    """Describe a process's exit code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
