"""Keep what we store to ourselves: 0700 for folders and 0600 for files, also where they existed before.

Permissions are only ever taken away. A closed folder closes what is in it, so its contents are not
searched; the SQLite file and the logs are closed as well because the state folder may be open to a group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

OTHERS, GROUP_AND_OTHERS = 0o007, 0o077


def set_umask(settings: Settings) -> None:
    """Let every file that this process creates be closed to others, and to the group unless it shares."""
    os.umask(0o027 if settings.group_access else GROUP_AND_OTHERS)


def keep_private(settings: Settings) -> None:
    """Set the umask, and close what an earlier version, a person or a script left open."""
    set_umask(settings)
    shared = OTHERS if settings.group_access else GROUP_AND_OTHERS
    for path in (settings.state_dir, settings.intake_dir, settings.handed_over_dir):
        _close(path, shared)
    for path in _ours_alone(settings):
        _close(path, GROUP_AND_OTHERS)


def _ours_alone(settings: Settings) -> Iterator[Path]:
    yield from (settings.log_dir, settings.alive_dir, settings.state_dir / "broker")
    if settings.log_dir.is_dir():
        yield from settings.log_dir.glob("*.log*")
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        yield from (Path(f"{url.database}{suffix}") for suffix in ("", "-wal", "-shm"))


def _close(path: Path, taken: int) -> None:
    try:
        found = path.stat().st_mode & 0o7777
        if found & taken:
            path.chmod(found & ~taken)
    except FileNotFoundError:
        return
    except OSError as error:  # it belongs to somebody else, who decides
        log.warning("permissions_kept", part=path.name, error_type=type(error).__qualname__)
