"""Taking studies over: files first, then one transaction, and only then yes.

`accept_study` is the contract for a PACS bridge in Python; the command line and the listener go
through the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.enums import InstanceReceipt, Priority, Source
from db.intake import accept, receive_instance
from db.records import Acceptance
from db.session import Database, is_transient
from worker.errors import Rejected, Transient
from worker.imaging.header import InstanceHeader
from worker.intake.files import Paths, ReadableFile, RefusedFile, read_all
from worker.intake.received import received_study
from worker.intake.storage import IntakeStorage, StoredFile
from worker.intake.waiting import wait_for
from worker.patience import in_transaction
from worker.settings import Settings, settings

__all__ = [
    "AcceptedStudy",
    "Enqueued",
    "RefusedFile",
    "accept_instance",
    "accept_study",
    "enqueue_paths",
    "wait_for",
]

C_STORE_PATIENCE_S = 5.0
"""How long a database that is away is waited for while a DICOM sender waits for its answer."""
PATIENCE_S = 30.0
"""The same for a program or a person."""


@dataclass(frozen=True, kw_only=True)
class AcceptedStudy(Acceptance):
    """The database's answer, and what was left out of it."""

    skipped: int = 0
    """Files found in folders that are no DICOM instances (DICOMDIR, viewers, texts)."""


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """What became of the files that were handed over."""

    accepted: tuple[Acceptance, ...]
    """One for each study."""
    refused: tuple[RefusedFile, ...]
    """Files that cannot be read, or that do not say which instance they are."""
    skipped: int
    """Files found in folders that are no DICOM instances."""


def accept_study(
    paths: Paths,
    *,
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.PYTHON,
    database: Database | None = None,
    site: Settings | None = None,
) -> AcceptedStudy:
    """Take over the files of one study; when this returns, the study will be predicted.

    `paths`: DICOM files, or folders of them, of one Study Instance UID. They are copied, so the
    caller may delete them. Sending a study again is harmless. All files are taken over or none:
    raises Rejected (NO_FILES, NOT_DICOM, ..., SEVERAL_STUDIES; the sentence says "File 3 of 7"),
    Resource (DISK_FULL, DISK_ERROR), Transient (DATABASE_AWAY).
    """
    site = site or settings()
    files = read_all(paths)
    if files.refused:
        raise files.refused[0].in_place()
    _refuse_several_studies(files.readable)
    with opened(database, site) as ours:
        accepted = _accept(
            files.readable,
            priority=priority,
            site_ae_title=site_ae_title,
            source=source,
            database=ours,
            site=site,
        )
    answer = {answered.name: getattr(accepted, answered.name) for answered in fields(accepted)}
    return AcceptedStudy(**answer, skipped=files.skipped)


def enqueue_paths(
    paths: Paths,
    *,
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.CLI,
    database: Database | None = None,
    site: Settings | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> Enqueued:
    """Take over any number of files of any number of studies; those refused are told one by one.

    Raises Rejected (NO_FILES), Resource and Transient as `accept_study`; studies before the one
    that failed are then taken over, and doing it all again is harmless.
    """
    site = site or settings()
    files = read_all(paths, on_file)
    by_study: dict[str, list[ReadableFile]] = {}
    for file in files.readable:
        by_study.setdefault(file.header.study_instance_uid, []).append(file)
    with opened(database, site) as ours:
        accepted = tuple(
            _accept(
                members,
                priority=priority,
                site_ae_title=site_ae_title,
                source=source,
                database=ours,
                site=site,
            )
            for members in by_study.values()
        )
    return Enqueued(accepted=accepted, refused=files.refused, skipped=files.skipped)


def accept_instance(
    stored: StoredFile,
    header: InstanceHeader,
    *,
    priority: Priority,
    site_ae_title: str | None,
    database: Database,
    site: Settings,
) -> Acceptance:
    """Take over one instance that came by C-STORE; the study stays open for its idle window.

    Raises Transient (DATABASE_AWAY).
    """
    received = received_study(
        [(stored, header)],
        priority=priority,
        site_ae_title=site_ae_title,
        source=Source.C_STORE,
    )
    return _record(
        database,
        lambda session: receive_instance(session, received, idle_window_s=site.idle_window_s),
        IntakeStorage(site.intake_dir),
        patience_s=C_STORE_PATIENCE_S,
    )


def _refuse_several_studies(files: Sequence[ReadableFile]) -> None:
    first = files[0].header.study_instance_uid
    for file in files:
        if file.header.study_instance_uid != first:
            raise Rejected(
                "SEVERAL_STUDIES",
                f"File {file.position} of {file.of} belongs to another study than the first; "
                "accept_study takes the files of one. Call it once for each study, or use "
                "`pneumo enqueue`, which sorts files by study.",
            )


def _accept(
    files: Sequence[ReadableFile],
    *,
    priority: Priority,
    site_ae_title: str | None,
    source: Source,
    database: Database,
    site: Settings,
) -> Acceptance:
    """Files to the intake folder, then the one transaction."""
    storage = IntakeStorage(site.intake_dir)
    received = received_study(
        [(_keep(storage, file), file.header) for file in files],
        priority=priority,
        site_ae_title=site_ae_title,
        source=source,
    )
    return _record(
        database, lambda session: accept(session, received), storage, patience_s=PATIENCE_S
    )


def _keep(storage: IntakeStorage, file: ReadableFile) -> StoredFile:
    try:
        return storage.keep_file(file.path)
    except Rejected as error:  # it was there a moment ago
        raise RefusedFile(position=file.position, of=file.of, error=error).in_place() from None


def _record(
    database: Database,
    work: Callable[[Session], Acceptance],
    storage: IntakeStorage,
    *,
    patience_s: float,
) -> Acceptance:
    """The transaction; afterwards no file is kept that no row refers to."""
    try:
        acceptance = in_transaction(database, work, patience_s=patience_s)
    except SQLAlchemyError as error:
        if not is_transient(error):
            raise
        raise Transient(
            "DATABASE_AWAY",
            "The database did not answer in time, so nothing was taken over. Check that it runs "
            "(PNEUMO_DATABASE_URL) and send again.",
        ) from None
    for instance in acceptance.instances:
        # Another file has this SOP Instance UID already, and the first one stays. No row can come
        # to refer to these bytes, since they hold the same two UIDs wherever they come from.
        if instance.outcome is InstanceReceipt.CONFLICTING:
            storage.discard(instance.file_name)
    return acceptance


@contextmanager
def opened(database: Database | None, site: Settings) -> Iterator[Database]:
    """The caller's database, or one of our own for the length of the call."""
    if database is not None:
        yield database
        return
    own = Database(site.database_url)
    try:
        yield own
    finally:
        own.dispose()
