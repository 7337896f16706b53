"""Keep the logs of `pneumo up` below a size, while processes keep writing to them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from worker.logging import get_logger

log = get_logger(__name__)

LOG_LIMIT = 50 * 1024 * 1024
"""A log larger than this is moved to NAME.log.1, which replaces the one before."""


def truncate_long_logs(folder: Path, *, limit: int = LOG_LIMIT) -> None:
    """Copy each long log aside and empty it.

    Its writer holds the file open for appending, so it continues at the new end; what it writes
    between copying and emptying is lost. Without room for the copy the log is emptied all the same:
    a log must not fill the disk that it reports on.
    """
    for path in sorted(folder.glob("*.log")):
        with suppress(OSError):
            if path.stat().st_size > limit:
                whole = _copied(path, path.with_suffix(".log.1"))
                with path.open("r+b") as file:
                    file.truncate(0)
                log.info("log_cut", part=path.stem, kept=whole)


def _copied(path: Path, aside: Path) -> bool:
    try:
        shutil.copyfile(path, aside)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        return False
    return True
