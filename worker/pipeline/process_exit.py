"""End a worker process that cannot recover."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import NoReturn

from worker.logging import get_logger

log = get_logger(__name__)

EXIT_SOFTWARE = 70
"""EX_SOFTWARE: the supervisor starts a new process; studies return when their leases expire."""


def exit_process(event: str, **details: object) -> NoReturn:
    """Log why, print every thread's stack, and exit at once: no clean-up could be trusted."""
    log.critical(event, exit_code=EXIT_SOFTWARE, **details)
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    os._exit(EXIT_SOFTWARE)
