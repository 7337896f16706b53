"""Ending a worker process that can do no good any more."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import NoReturn

from worker.logging import get_logger

log = get_logger(__name__)

EXIT_SOFTWARE = 70
"""EX_SOFTWARE: the supervisor starts a fresh process, leases bring the studies back."""


def exit_process(event: str, **details: object) -> NoReturn:
    """Say why, show where every thread stands, and end at once: no clean-up could be trusted."""
    log.critical(event, exit_code=EXIT_SOFTWARE, **details)
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    os._exit(EXIT_SOFTWARE)
