"""`pneumo tidy`: at once and by hand what the relay does a little at a time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

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
from worker.screens.admin import actor
from worker.settings import Settings
from worker.storage.disk import disk_space_of, format_bytes


@dataclass(frozen=True, kw_only=True)
class TidyResult:
    """What was removed, or would be."""

    left: RemovedFiles
    """Files of finished studies."""
    orphans: RemovedFiles
    """Files that no row needs."""
    kept_for_deliveries: RemovableTotals | None = None
    """Would leave, but for a result that is still owed; None: not counted."""
    half_written: int | None = None
    """Left in mid-write; None: not counted."""
    stale_alive_files: int | None = None
    """Of processes that are gone; None: not counted."""


def show_tidying(settings: Settings, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what may leave and say what it was; with `dry_run` only say. Always 0.

    Raises Resource INTAKE_NOT_TIDIED.
    """
    console = console or Console()
    database = Database(settings.database_url)
    try:
        done = preview_tidy(settings, database) if dry_run else tidy(settings, database)
        room = disk_space_of(settings.intake_dir)
    except OSError as error:
        raise Resource(
            "INTAKE_NOT_TIDIED",
            f"The intake folder cannot be tidied ({type(error).__name__}). Check that it is mounted "
            "and that this user may write to it (PNEUMO_STATE_DIR).",
        ) from None
    finally:
        database.dispose()
    console.print(_table(done, settings, dry_run=dry_run))
    console.print(f"Disk: {room}.")
    return 0


def tidy(settings: Settings, database: Database) -> TidyResult:
    """Everything that may leave, leaves."""
    left = batch = remove_expired_files(settings, database, actor=actor())
    while batch.studies == BATCH:
        batch = remove_expired_files(settings, database, actor=actor())
        left += batch
    return TidyResult(
        left=left,
        orphans=_orphans(settings, database, dry_run=False),
        half_written=sweep_part_files(settings),
        stale_alive_files=sweep_alive_files(settings),
    )


def preview_tidy(settings: Settings, database: Database) -> TidyResult:
    """What `tidy` would remove; nothing is changed."""
    left, owed = RemovedFiles(), None
    if settings.keep_files_days:
        with database.reading() as session:
            due = count_removable(session, keep_days=settings.keep_files_days)
            owed = count_kept_as_outstanding(session, keep_days=settings.keep_files_days)
        left = RemovedFiles(studies=due.studies, files=due.files, size=due.size)
    orphans = _orphans(settings, database, dry_run=True)
    return TidyResult(left=left, orphans=orphans, kept_for_deliveries=owed)


def _orphans(settings: Settings, database: Database, *, dry_run: bool) -> RemovedFiles:
    swept = RemovedFiles()
    for folder in FOLDERS:
        swept += sweep_orphans(settings, database, folder, dry_run=dry_run)
    return swept


def _table(done: TidyResult, settings: Settings, *, dry_run: bool) -> Table:
    days = settings.keep_files_days
    rule = (
        f"finished at least {days:g} days ago"
        if days
        else "kept for ever (PNEUMO_KEEP_FILES_DAYS=0)"
    )
    table = Table("what", "files", "bytes", title="Would leave" if dry_run else "Left")
    table.title_justify = "left"
    left, orphans = done.left, done.orphans
    table.add_row(
        f"files of {left.studies} studies, {rule}", str(left.files), format_bytes(left.size)
    )
    table.add_row("files that no row needs", str(orphans.files), format_bytes(orphans.size))
    if done.kept_for_deliveries:
        owed = done.kept_for_deliveries
        what = f"stay: results of {owed.studies} studies are owed (`pneumo deliveries`)"
        table.add_row(what, str(owed.files), format_bytes(owed.size))
    if done.half_written is not None:
        table.add_row("half-written files of dead processes", str(done.half_written), "")
        table.add_row("signs of life of dead processes", str(done.stale_alive_files), "")
    return table
