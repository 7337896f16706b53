"""The stock Celery worker with one fault built in, for tests that kill at a chosen step.

    python -m tests.acceptance.instrumented_worker FAULT -A worker worker -P threads …

FAULT is `pause:STEP:FILE` (stand still at STEP after touching FILE) or `crash:ROWS` (die by
SIGSEGV beside the decoder over a file with that many rows). Everything else is the real thing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.bin.celery import main as celery


def pause_before(function: Callable[..., Any], reached: Path) -> Callable[..., Any]:
    """`function`, which is never entered."""

    def paused(*_args: Any, **_kwargs: Any) -> Any:
        reached.touch()
        threading.Event().wait()

    return paused


def pause_after(function: Callable[..., Any], reached: Path) -> Callable[..., Any]:
    """`function`, which never returns."""

    def paused(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        reached.touch()
        threading.Event().wait()

    return paused


def install(fault: str) -> None:
    """Build the fault into this process, before Celery loads the tasks."""
    from worker.intake import accept
    from worker.model.predictor import Predictor
    from worker.pipeline import process_study

    kind, _, rest = fault.partition(":")
    if kind == "crash":
        original = process_study.check_eligibility

        def crash(header: Any, *args: Any, **kwargs: Any) -> Any:
            if header.rows == int(rest):
                os.kill(os.getpid(), signal.SIGSEGV)
            return original(header, *args, **kwargs)

        process_study.check_eligibility = crash
        return
    step, _, file = rest.partition(":")
    reached = Path(file)
    if step == "decoding":
        process_study.normalise_frame = pause_before(process_study.normalise_frame, reached)
    elif step == "inference":
        Predictor.predict = pause_before(Predictor.predict, reached)
    elif step == "accept":
        accept.read_headers = pause_before(accept.read_headers, reached)
    elif step == "after_commit":
        process_study.store = pause_after(process_study.store, reached)
    else:
        raise SystemExit(f"unknown step {step!r}")


if __name__ == "__main__":
    install(sys.argv[1])
    sys.argv = ["celery", *sys.argv[2:]]
    celery()
