"""Files of finished studies leave by the site's rule; results, digests and the audit trail stay."""

from __future__ import annotations

from dataclasses import dataclass

from db.engine.session import Database
from db.studies.retention import RemovableFiles, files_to_remove, mark_removed, removable_studies
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)

BATCH = 50
"""Studies at a time: a relay must come back to publishing, and no lock is held for long."""


@dataclass(frozen=True, kw_only=True)
class RemovedFiles:
    """What left."""

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
    """Remove the files of at most `limit` studies that are due; fewer came if there are no more."""
    left = RemovedFiles()
    if not settings.keep_files_days:
        return left
    with database.reading() as session:
        due = removable_studies(session, keep_days=settings.keep_files_days, limit=limit)
    storage = IntakeStorage(settings.intake_dir)
    for study_id in due:
        with database.transaction() as session:
            leaving = mark_removed(
                session, study_id, keep_days=settings.keep_files_days, actor=actor
            )
        if leaving is not None:
            _remove(leaving, storage, database)
            left += RemovedFiles(studies=1, files=len(leaving.names), size=leaving.size)
    if left.studies:
        log.info("files_left", studies=left.studies, files=left.files, bytes=left.size)
    return left


def _remove(leaving: RemovableFiles, storage: IntakeStorage, database: Database) -> None:
    """The rows say that the files are gone: now they go. What stays is an orphan, swept later."""
    with database.transaction() as session:
        for name in files_to_remove(session, leaving):
            storage.discard(name)
