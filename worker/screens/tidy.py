"""`pneumo tidy`: at once and by hand what the relay does a little at a time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from db.engine.session import Database
from db.studies.retention import Leaving, count_due_to_leave, count_kept_as_owed
from worker.errors import Resource
from worker.maintenance.orphans import (
    FOLDERS,
    Swept,
    sweep_half_written,
    sweep_orphans,
    sweep_signs_of_life,
)
from worker.maintenance.retention import BATCH, Left, let_files_leave
from worker.screens.admin import actor
from worker.settings import Settings
from worker.storage.disk import in_words, room_of


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What was removed, or would be."""

    left: Left
    """Files of finished studies."""
    orphans: Swept
    """Files that no row needs."""
    kept_as_owed: Leaving | None = None
    """Would leave, but for a result that is still owed; None: not counted."""
    half_written: int | None = None
    """Left in mid-write; None: not counted."""
    signs_of_life: int | None = None
    """Of processes that are gone; None: not counted."""


def show_tidying(settings: Settings, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what may leave and say what it was; with `dry_run` only say. Always 0.

    Raises Resource INTAKE_NOT_TIDIED.
    """
    console = console or Console()
    database = Database(settings.database_url)
    try:
        done = would_tidy(settings, database) if dry_run else tidy(settings, database)
        room = room_of(settings.intake_dir)
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


def tidy(settings: Settings, database: Database) -> Tidied:
    """Everything that may leave, leaves."""
    left = batch = let_files_leave(settings, database, actor=actor())
    while batch.studies == BATCH:
        batch = let_files_leave(settings, database, actor=actor())
        left += batch
    return Tidied(
        left=left,
        orphans=_orphans(settings, database, dry_run=False),
        half_written=sweep_half_written(settings),
        signs_of_life=sweep_signs_of_life(settings),
    )


def would_tidy(settings: Settings, database: Database) -> Tidied:
    """What `tidy` would remove; nothing is changed."""
    left, owed = Left(), None
    if settings.keep_files_days:
        with database.reading() as session:
            due = count_due_to_leave(session, keep_days=settings.keep_files_days)
            owed = count_kept_as_owed(session, keep_days=settings.keep_files_days)
        left = Left(studies=due.studies, files=due.files, size=due.size)
    orphans = _orphans(settings, database, dry_run=True)
    return Tidied(left=left, orphans=orphans, kept_as_owed=owed)


def _orphans(settings: Settings, database: Database, *, dry_run: bool) -> Swept:
    swept = Swept()
    for folder in FOLDERS:
        swept += sweep_orphans(settings, database, folder, dry_run=dry_run)
    return swept


def _table(done: Tidied, settings: Settings, *, dry_run: bool) -> Table:
    days = settings.keep_files_days
    rule = (
        f"finished at least {days:g} days ago"
        if days
        else "kept for ever (PNEUMO_KEEP_FILES_DAYS=0)"
    )
    table = Table("what", "files", "bytes", title="Would leave" if dry_run else "Left")
    table.title_justify = "left"
    left, orphans = done.left, done.orphans
    table.add_row(f"files of {left.studies} studies, {rule}", str(left.files), in_words(left.size))
    table.add_row("files that no row needs", str(orphans.files), in_words(orphans.size))
    if done.kept_as_owed:
        owed = done.kept_as_owed
        what = f"stay: results of {owed.studies} studies are owed (`pneumo deliveries`)"
        table.add_row(what, str(owed.files), in_words(owed.size))
    if done.half_written is not None:
        table.add_row("half-written files of dead processes", str(done.half_written), "")
        table.add_row("signs of life of dead processes", str(done.signs_of_life), "")
    return table
