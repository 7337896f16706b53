"""`pneumo tidy`: remove by hand, and at once, what the relay removes a little at a time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from db.engine.session import Database
from db.studies.retention import RemovableTotals, count_kept_as_outstanding, count_removable
from worker.errors import Resource
from worker.maintenance.orphans import (
    FOLDERS,
    SweptFiles,
    sweep_alive_files,
    sweep_orphans,
    sweep_part_files,
)
from worker.maintenance.retention import BATCH, RemovedFiles, remove_expired_files
from worker.screens.console import actor, counted, opened, titled_table, wide_console
from worker.settings import Settings
from worker.storage.disk import disk_space_of, format_bytes


@dataclass(frozen=True, kw_only=True)
class TidyResult:
    """What was removed, or would be."""

    expired: RemovedFiles
    """Files of finished studies."""
    orphans: SweptFiles
    """Files that no row needs."""
    kept_for_deliveries: RemovableTotals | None = None
    """Expired, but kept for a result that is still to be sent; None: not counted."""
    half_written: int | None = None
    """Files whose writer died; None: not counted."""
    stale_alive_files: int | None = None
    """Heartbeat files of processes that are gone; None: not counted."""


def show_tidying(settings: Settings, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what may be removed and print what it was; with `dry_run` only print it. Always 0.

    Raises Resource INTAKE_NOT_TIDIED.
    """
    console = console or wide_console()
    try:
        with opened(settings) as database:
            result = tidy(settings, database, dry_run=dry_run)
        space = disk_space_of(settings.intake_dir)
    except OSError as error:
        raise Resource(
            "INTAKE_NOT_TIDIED",
            f"The intake folder cannot be tidied ({type(error).__name__}). Check that it is mounted "
            "and that this user may write to it (PNEUMO_STATE_DIR).",
        ) from None
    console.print(_table(result, settings, dry_run=dry_run))
    console.print(f"Disk: {space}.")
    return 0


def tidy(settings: Settings, database: Database, *, dry_run: bool) -> TidyResult:
    """Remove everything that may be removed; with `dry_run` count it and change nothing."""
    orphans = SweptFiles()
    if dry_run:
        expired, kept = _count_expired(settings, database)
    else:
        expired, kept = _remove_expired(settings, database), None
    for folder in FOLDERS:
        orphans += sweep_orphans(settings, database, folder, dry_run=dry_run)
    return TidyResult(
        expired=expired,
        orphans=orphans,
        kept_for_deliveries=kept,
        half_written=None if dry_run else sweep_part_files(settings),
        stale_alive_files=None if dry_run else sweep_alive_files(settings),
    )


def _remove_expired(settings: Settings, database: Database) -> RemovedFiles:
    removed = batch = remove_expired_files(settings, database, actor=actor())
    while batch.studies == BATCH:
        batch = remove_expired_files(settings, database, actor=actor())
        removed += batch
    return removed


def _count_expired(
    settings: Settings, database: Database
) -> tuple[RemovedFiles, RemovableTotals | None]:
    if not settings.keep_files_days:
        return RemovedFiles(), None
    with database.reading() as session:
        due = count_removable(session, keep_days=settings.keep_files_days)
        kept = count_kept_as_outstanding(session, keep_days=settings.keep_files_days)
    return RemovedFiles(studies=due.studies, files=due.files, size=due.size), kept


def _table(result: TidyResult, settings: Settings, *, dry_run: bool) -> Table:
    days, expired, kept = settings.keep_files_days, result.expired, result.kept_for_deliveries
    rule = (
        f"finished at least {days:g} days ago"
        if days
        else "kept without limit (PNEUMO_KEEP_FILES_DAYS=0)"
    )
    table = titled_table("Would be removed" if dry_run else "Removed", "what", "files", "bytes")
    rows: list[tuple[str, int | None, int | None]] = [
        (f"files of {counted(expired.studies, 'study')}, {rule}", expired.files, expired.size),
        ("files that no row needs", result.orphans.files, result.orphans.size),
        ("half-written files of dead processes", result.half_written, None),
        ("heartbeat files of dead processes", result.stale_alive_files, None),
    ]
    if kept:
        waiting = f"kept: results of {counted(kept.studies, 'study')} are still to be sent"
        rows.insert(2, (f"{waiting} (`pneumo deliveries`)", kept.files, kept.size))
    for what, files, size in rows:
        if files is not None:
            table.add_row(what, str(files), "" if size is None else format_bytes(size))
    return table
