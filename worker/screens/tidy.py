"""`pneumo tidy`: remove by hand, and at once, what the relay removes a little at a time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from db.engine.session import Database
from db.studies.retention import RemovableTotals, count_kept_as_outstanding, count_removable
from worker.errors import Resource
from worker.maintenance.orphans import (
    FOLDERS,
    sweep_alive_files,
    sweep_orphans,
    sweep_part_files,
)
from worker.maintenance.retention import BATCH, RemovedFiles, remove_expired_files
from worker.screens.console import actor, counted, opened, titled_table, wide_console
from worker.settings import Settings
from worker.storage.disk import disk_space_of, format_bytes


@dataclass(frozen=True, kw_only=True)
class TidiedFiles:
    """Files of one kind that were removed, would be, or are kept."""

    what: str
    """What kind, for a person."""
    files: int
    size: int | None = None
    """Bytes; None: not counted."""


def show_tidying(settings: Settings, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what may be removed and print what it was; with `dry_run` only print it. Always 0.

    Raises Resource INTAKE_NOT_TIDIED.
    """
    console = console or wide_console()
    try:
        with opened(settings) as database:
            kinds = tidy(settings, database, dry_run=dry_run)
        space = disk_space_of(settings.intake_dir)
    except OSError as error:
        raise Resource(
            "INTAKE_NOT_TIDIED",
            f"The intake folder cannot be tidied ({type(error).__name__}). Check that it is mounted "
            "and that this user may write to it (PNEUMO_STATE_DIR).",
        ) from None
    table = titled_table("Would be removed" if dry_run else "Removed", "what", "files", "bytes")
    for kind in kinds:
        size = "" if kind.size is None else format_bytes(kind.size)
        table.add_row(kind.what, str(kind.files), size)
    console.print(table)
    console.print(f"Disk: {space}.")
    return 0


def tidy(settings: Settings, database: Database, *, dry_run: bool) -> list[TidiedFiles]:
    """Remove everything that may be removed; with `dry_run` count it and change nothing."""
    expired, kept = (_count_expired if dry_run else _remove_expired)(settings, database)
    orphans = RemovedFiles()
    for folder in FOLDERS:
        orphans += sweep_orphans(settings, database, folder, dry_run=dry_run)
    days = settings.keep_files_days
    rule = (
        f"finished at least {days:g} days ago"
        if days
        else "kept without limit (PNEUMO_KEEP_FILES_DAYS=0)"
    )
    what = f"files of {counted(expired.studies, 'study')}, {rule}"
    kinds = [
        TidiedFiles(what=what, files=expired.files, size=expired.size),
        TidiedFiles(what="files that no row needs", files=orphans.files, size=orphans.size),
    ]
    if kept and kept.files:
        what = f"kept: results of {counted(kept.studies, 'study')} are still to be sent"
        what += " (`pneumo deliveries`)"
        kinds.append(TidiedFiles(what=what, files=kept.files, size=kept.size))
    if not dry_run:
        half_written, stale = sweep_part_files(settings), sweep_alive_files(settings)
        kinds += [
            TidiedFiles(what="half-written files of dead processes", files=half_written),
            TidiedFiles(what="heartbeat files of dead processes", files=stale),
        ]
    return kinds


def _remove_expired(settings: Settings, database: Database) -> tuple[RemovedFiles, None]:
    removed = batch = remove_expired_files(settings, database, actor=actor())
    while batch.studies == BATCH:
        batch = remove_expired_files(settings, database, actor=actor())
        removed += batch
    return removed, None


def _count_expired(
    settings: Settings, database: Database
) -> tuple[RemovedFiles, RemovableTotals | None]:
    """Count what is due, and what would be but for a result that is still to be sent."""
    if not settings.keep_files_days:
        return RemovedFiles(), None
    with database.reading() as session:
        due = count_removable(session, keep_days=settings.keep_files_days)
        kept = count_kept_as_outstanding(session, keep_days=settings.keep_files_days)
    return RemovedFiles(studies=due.studies, files=due.files, size=due.size), kept
