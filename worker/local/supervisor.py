"""Keeping named processes alive, and ending them in order.

A part that dies is started again, at once the first time and with growing pauses while it keeps
dying. Children are tied to this process (worker/local/die_with_parent.py), so `watch` and `start` belong
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
from types import TracebackType
from typing import Self

import structlog

from worker.local.log_files import truncate_long_logs
from worker.logging import get_logger
from worker.settings import without_settings

log = get_logger(__name__)

TICK_S = 0.2
"""Between two looks at the children."""
MAX_RESTART_DELAY_S = 30.0
"""Before a part that keeps dying is started again."""
STABLE_AFTER_S = 60.0
"""A part that ran so long counts as well: its next death is a first one."""
LOG_CHECK_INTERVAL_S = 60.0
"""Between two looks at the size of the logs."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process of an installation."""

    name: str
    """Also the name of its log."""
    command: tuple[str, ...]
    """What to run."""
    grace_s: float = 10.0
    """How long it may take to end after SIGTERM, before SIGKILL."""
    is_expected_to_exit: bool = False
    """Being killed by what it reads is this part's purpose (the suspect worker): after a death by
    a signal it comes back without a pause. When it leaves by itself it is like any other part."""


@dataclass
class SupervisedProcess:
    """A part's present process."""

    part: ProcessSpec
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    """In a row, without being well in between; deaths that its part expects do not count."""
    due: float | None = None
    """When to start it again; None while it runs."""


@dataclass
class Supervisor:
    """Parts that run until `close`, in the order in which they were started."""

    log_dir: Path
    environment: Mapping[str, str]
    """Added to this process's environment, of which no setting of ours is handed on."""
    on_death: Callable[[str], None] = lambda _: None
    """Is told each death in a sentence."""
    children: dict[str, SupervisedProcess] = field(default_factory=dict)
    _next_log_check: float = 0.0

    def start(self, part: ProcessSpec) -> None:
        """Start a part; from now on it is kept alive."""
        self.children[part.name] = SupervisedProcess(
            part=part, process=self._launch(part), started=time.monotonic()
        )

    def watch(self, until: Callable[[], bool]) -> None:
        """Keep every part alive until `until()` is true."""
        while not until():
            self.check_children()
            time.sleep(TICK_S)

    def check_children(self) -> None:
        """Look at each child once; start again what is due; now and then cut their logs."""
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
        """A part that died so many times in a row, if there is one."""
        return next(
            (child for child in self.children.values() if child.deaths >= times),
            None,
        )

    def close(self) -> None:
        """End the parts, last started first; each has its grace."""
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

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        self.close()

    def last_line(self, name: str) -> str:
        """The last line of a part's log, to say why it does not start."""
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
                # Ctrl-C in the terminal is for the supervisor, which ends the parts in order.
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
        self.on_death(f"The {child.part.name} {describe_exit(code)} and is started again {again}.")


def restart_delay_s(deaths: int) -> float:
    """Seconds before a part starts again that died so many times in a row: 0, 1, 3, 7 … 30."""
    # Bounded before it is raised: 2.0 ** 1024 is an OverflowError, a bad night of deaths away.
    return min(2.0 ** min(deaths - 1, 10) - 1, MAX_RESTART_DELAY_S)


def describe_exit(code: int) -> str:
    """A process's exit code in words."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
