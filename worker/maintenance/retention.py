"""Remove the files of finished studies by the site's rule; results, digests and the audit trail stay."""

from __future__ import annotations

from dataclasses import dataclass

from db.engine.session import Database
from db.studies.retention import RemovableFiles, files_to_remove, mark_removed, removable_studies
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)

BATCH = 50
"""Studies at a time: the relay must return to publishing, and no lock is held for long."""


@dataclass(frozen=True, kw_only=True)
class RemovedFiles:
    """How many files were removed, and of how many studies."""

    studies: int = 0
    files: int = 0
    size: int = 0
    """Bytes."""

    def __add__(self, other: RemovedFiles) -> RemovedFiles:
        return RemovedFiles(
            studies=self.studies + other.studies,
            files=self.files + other.files,
            size=self.size + other.size,
        )


def remove_expired_files(
    settings: Settings, database: Database, *, actor: str, limit: int = BATCH
) -> RemovedFiles:
    """Remove the files of at most `limit` studies that are due; fewer than `limit`: no more are due."""
    removed = RemovedFiles()
    if not settings.keep_files_days:
        return removed
    with database.reading() as session:
        due = removable_studies(session, keep_days=settings.keep_files_days, limit=limit)
    storage = IntakeStorage(settings.intake_dir)
    for study_id in due:
        with database.transaction() as session:
            files = mark_removed(session, study_id, keep_days=settings.keep_files_days, actor=actor)
        if files is not None:
            _remove(files, storage, database)
            removed += RemovedFiles(studies=1, files=len(files.names), size=files.size)
    if removed.studies:
        log.info("files_left", studies=removed.studies, files=removed.files, bytes=removed.size)
    return removed


def _remove(files: RemovableFiles, storage: IntakeStorage, database: Database) -> None:
    """Remove the files whose rows say that they are gone; a file that stays is an orphan, swept later."""
    with database.transaction() as session:
        for name in files_to_remove(session, files):
            storage.discard(name)
