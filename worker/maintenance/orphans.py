"""Remove what dead processes left: files without a row, half-written files, alive files.

Nothing is removed before it is a day old: a process that wrote a file commits its row within seconds, or
never will. A file is first moved aside and checked there. If a sender brought the same content again at
that very moment, the new file was moved: its age shows it, and it is moved back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from db.engine.session import Database
from db.studies.retention import file_names_in_use
from worker.maintenance.retention import RemovedFiles
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

DAY_S = 24 * 3600.0
FOLDERS = tuple(f"{number:02x}" for number in range(256))
"""Inner folders of the intake folder; each file is in that of the first two digits of its name."""
KEPT_NAME = re.compile(r"[0-9a-f]{64}\.dcm")
ASIDE = "leaving"
"""Inner folder for files that are being checked; what a dead process leaves there is checked next time."""


def sweep_orphans(
    settings: Settings,
    database: Database,
    folder: str,
    *,
    older_than_s: float = DAY_S,
    dry_run: bool = False,
) -> RemovedFiles:
    """Remove the files of one inner folder ("ab") that no row needs and that are old enough.

    A process leaves them if it dies after writing a file and before its row, or after marking a row
    as removed and before removing the file. Raises OSError if the folder cannot be written.
    """
    if not dry_run:
        _resolve_aside(settings, database, older_than_s=older_than_s)
    oldest = time.time() - older_than_s
    found = {f"{folder}/{path.name}": path for path in _files(settings.intake_dir / folder, oldest)}
    orphans = found.keys() - _needed(database, found.keys())
    if dry_run:
        return _measured(found[name] for name in orphans)
    aside = settings.intake_dir / ASIDE
    for name in orphans:
        aside.mkdir(mode=0o750, exist_ok=True)
        with suppress(FileNotFoundError):  # another process sweeps too
            found[name].rename(aside / found[name].name)
    return _resolve_aside(settings, database, older_than_s=older_than_s)


def _resolve_aside(settings: Settings, database: Database, *, older_than_s: float) -> RemovedFiles:
    """Remove the files moved aside; move back those that are young or that a row needs by now."""
    paths = {f"{path.name[:2]}/{path.name}": path for path in _files(settings.intake_dir / ASIDE)}
    if not paths:
        return RemovedFiles()
    needed = _needed(database, paths.keys())
    oldest, swept = time.time() - older_than_s, RemovedFiles()
    for name, path in paths.items():
        with suppress(FileNotFoundError):
            if name in needed or path.stat().st_mtime >= oldest:
                path.replace(settings.intake_dir / name)
            else:
                swept += _measured([path])
                path.unlink()
    return swept


def sweep_part_files(settings: Settings, *, older_than_s: float = DAY_S) -> int:
    """Remove the half-written files of dead writers; return how many."""
    return IntakeStorage(settings.intake_dir).sweep_part_files(older_than_s=older_than_s)


def sweep_alive_files(settings: Settings, *, older_than_s: float = DAY_S) -> int:
    """Remove the alive files of processes without a heartbeat for so long; return how many."""
    oldest, swept = time.time() - older_than_s, 0
    for path in settings.alive_dir.glob("*.alive"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
                swept += 1
    return swept


def _files(folder: Path, oldest: float | None = None) -> Iterator[Path]:
    """Yield the files that are named by their content; `oldest`: only those modified before it."""
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):
                if KEPT_NAME.fullmatch(path.name) and (
                    oldest is None or path.stat().st_mtime < oldest
                ):
                    yield path


def _needed(database: Database, names: Collection[str]) -> set[str]:
    with database.reading() as session:
        return file_names_in_use(session, names)


def _measured(paths: Iterable[Path]) -> RemovedFiles:
    swept = RemovedFiles()
    for path in paths:
        with suppress(FileNotFoundError):
            swept += RemovedFiles(files=1, size=path.stat().st_size)
    return swept
