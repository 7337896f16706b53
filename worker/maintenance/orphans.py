"""What processes that died left behind: files without a row, half-written files, signs of life.

Nothing here is ever needed, and nothing here is taken away before it is a day old: whoever wrote it has
told its row within seconds, or never will. A file is first moved aside and judged there. If a sender
brought the same content again in that very moment, it is the new file that was moved, which shows in
its age, and it goes back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from db.engine.session import Database
from db.studies.retention import file_names_in_use
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

DAY_S = 24 * 3600.0
FOLDERS = tuple(f"{number:02x}" for number in range(256))
"""Inner folders of the intake: files lie by the first two digits of their names."""
KEPT_NAME = re.compile(r"[0-9a-f]{64}\.dcm")
ASIDE = "leaving"
"""Inner folder for a file that is being judged; what a death leaves there is judged next time."""


@dataclass(frozen=True, kw_only=True)
class SweptFiles:
    """How many files, and their bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: SweptFiles) -> SweptFiles:
        return SweptFiles(files=self.files + other.files, size=self.size + other.size)


def sweep_orphans(
    settings: Settings,
    database: Database,
    folder: str,
    *,
    older_than_s: float = DAY_S,
    dry_run: bool = False,
) -> SweptFiles:
    """Remove the files of one inner folder ("ab") that no row needs and that are old enough.

    A death between file and row leaves them, and one between a row that says that its file left and
    the file. Raises OSError if the folder cannot be written.
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


def _resolve_aside(settings: Settings, database: Database, *, older_than_s: float) -> SweptFiles:
    """Remove what lies aside, or put it back: what is young, and what a row came to need."""
    paths = {f"{path.name[:2]}/{path.name}": path for path in _files(settings.intake_dir / ASIDE)}
    if not paths:
        return SweptFiles()
    needed, oldest, swept = (
        _needed(database, paths.keys()),
        time.time() - older_than_s,
        SweptFiles(),
    )
    for name, path in paths.items():
        with suppress(FileNotFoundError):
            if name in needed or path.stat().st_mtime >= oldest:
                path.replace(settings.intake_dir / name)
            else:
                swept += _measured([path])
                path.unlink()
    return swept


def sweep_part_files(settings: Settings, *, older_than_s: float = DAY_S) -> int:
    """Remove what writers left that died in mid-write; says how many."""
    return IntakeStorage(settings.intake_dir).sweep_part_files(older_than_s=older_than_s)


def sweep_alive_files(settings: Settings, *, older_than_s: float = DAY_S) -> int:
    """Remove the files of processes that have not beaten for so long; says how many."""
    oldest, swept = time.time() - older_than_s, 0
    for path in settings.alive_dir.glob("*.alive"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
                swept += 1
    return swept


def _files(folder: Path, oldest: float | None = None) -> Iterator[Path]:
    """Files under names of their content, those older than `oldest` if it is given."""
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


def _measured(paths: Iterable[Path]) -> SweptFiles:
    swept = SweptFiles()
    for path in paths:
        with suppress(FileNotFoundError):
            swept += SweptFiles(files=1, size=path.stat().st_size)
    return swept
