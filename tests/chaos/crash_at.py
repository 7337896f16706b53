"""Run a process of ours that kills itself with SIGKILL once at each named step, then works as usual.

    python -m tests.chaos.crash_at FOLDER MODULE ARGUMENT…

FOLDER remembers, for all processes together, which steps have had their crash. Besides, a file of
`CRASHES_WORKER` rows ends every worker that looks at it, and one of `CRASHES_DECODER` rows ends every
process that decodes it. Everything else is the real thing.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CRASHES_WORKER, CRASHES_DECODER = 333, 334
"""(0028,0010) Rows of the two kinds of poison."""
STEPS = {
    # step: (program, module, attribute, whether the crash comes after it)
    "listener: file on disk, no row yet": ("listen", "worker.listener.c_store", "accept_instance", False),
    "listener: row committed, no answer yet": ("listen", "worker.listener.c_store", "accept_instance", True),
    "relay: due, nothing sent yet": ("relay", "worker.relay.relay", "publish", False),
    "relay: messages sent and marked": ("relay", "worker.relay.relay", "publish", True),
    "relay: leases swept": ("relay", "worker.relay.relay", "sweep_expired_leases", True),
    "worker: claimed, nothing read": ("stat,routine", "worker.pipeline.process_study", "read_study", False),
    "worker: header read": ("stat,routine", "worker.pipeline.process_study", "read_header", True),
    "worker: decoding": ("stat,routine", "worker.pipeline.process_study", "normalise_frame", False),
    "worker: in the network's queue": ("stat,routine", "worker.pipeline.process_study", "outcome_of", False),
    "worker: result not stored": ("stat,routine", "worker.pipeline.process_study", "store", False),
    "worker: result stored, no answer to the broker": ("stat,routine", "worker.pipeline.process_study", "store", True),
    "delivery: claimed, not rendered": ("delivery", "worker.delivery.send", "render_result", False),
    "delivery: about to be recorded as begun": ("delivery", "worker.delivery.send", "_begin", False),
    "delivery: begun, nothing sent": ("delivery", "worker.delivery.send", "_begin", True),
    "delivery: sent, not recorded": ("delivery", "worker.delivery.send", "_finish", False),
    "delivery: recorded, no answer to the broker": ("delivery", "worker.delivery.send", "_finish", True),
}  # fmt: skip


def install_crashes(folder: Path, words: list[str]) -> None:
    """Build the steps of this program into its modules."""
    for step, (program, module, attribute, after) in STEPS.items():
        if program in words:
            home = importlib.import_module(module)
            setattr(home, attribute, _crashing(getattr(home, attribute), folder, step, after=after))


def install_poison() -> None:
    """Let the two kinds of poison end a worker, or the process that decodes."""
    from worker.imaging import guarded_decoding
    from worker.pipeline import process_study

    original = process_study.check_eligibility

    def look(header: Any, *args: Any, **kwargs: Any) -> Any:
        if header.rows == CRASHES_WORKER:
            os.kill(os.getpid(), signal.SIGSEGV)
        return original(header, *args, **kwargs)

    process_study.check_eligibility = look
    process_study.normalise_frame = crashing_decoder(process_study.normalise_frame)
    # The child that decodes a suspect study's frames is this module, by its name.
    guarded_decoding.__name__ = "tests.chaos.crashing_child"


def crashing_decoder(decode: Callable[..., Any]) -> Callable[..., Any]:
    """Return `decode`, which ends its process with SIGSEGV over the poison."""

    def decoding(dataset: Any, *args: Any, **kwargs: Any) -> Any:
        if dataset.Rows == CRASHES_DECODER:
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode(dataset, *args, **kwargs)

    return decoding


def crashed_steps(folder: Path) -> set[str]:
    """Return the steps that have had their crash."""
    return {step for number, step in enumerate(STEPS) if (folder / str(number)).exists()}


def forget_steps(folder: Path, steps: set[str]) -> None:
    """Let no process crash at these steps."""
    for number, step in enumerate(STEPS):
        if step in steps:
            (folder / str(number)).touch()


def _crashing(
    function: Callable[..., Any], folder: Path, step: str, *, after: bool
) -> Callable[..., Any]:
    file = folder / str([*STEPS].index(step))

    def crash_once() -> None:
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def called(*args: Any, **kwargs: Any) -> Any:
        if not after:
            crash_once()
        result = function(*args, **kwargs)
        if after:
            crash_once()
        return result

    return called


if __name__ == "__main__":
    remembered, module_name, *rest = sys.argv[1:]
    words = [word for item in rest for word in (item, *item.split())]
    install_crashes(Path(remembered), words)
    if module_name == "celery":
        install_poison()
    sys.argv = [module_name, *rest]
    runpy.run_module(module_name, run_name="__main__", alter_sys=True)
