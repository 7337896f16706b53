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

from db.engine.session import Database, is_transient
from db.studies.intake import accept, announce, receive_instance
from db.values import Acceptance
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected, Resource, Transient
from worker.imaging.header import InstanceHeader
from worker.intake.files import FileScan, Paths, ReadableFile, RefusedFile, read_headers
from worker.intake.manifest import SenderManifest, checked_manifest
from worker.intake.own_results import without_own_results
from worker.intake.received_study import received_study
from worker.intake.wait_for_studies import wait_for_studies
from worker.settings import Settings, current_settings
from worker.storage.disk import refuse_when_nearly_full
from worker.storage.disk_condition import note_disk_failure
from worker.storage.intake_folder import IntakeStorage, StoredFile
from worker.storage.storage_factory import intake_storage
from worker.transactions import in_transaction

__all__ = [
    "AcceptedStudy",
    "EnqueueResult",
    "RefusedFile",
    "accept_instance",
    "accept_study",
    "enqueue_paths",
    "expect_instances",
    "wait_for_studies",
]

C_STORE_DATABASE_TIMEOUT_S = 5.0
"""How long a database that is away is waited for while a DICOM sender waits for its answer."""
DATABASE_TIMEOUT_S = 30.0
"""The same for a program or a person."""


@dataclass(frozen=True, kw_only=True)
class AcceptedStudy(Acceptance):
    """The database's answer, and what was left out of it."""

    skipped: int = 0
    """Files found in folders that are no DICOM instances (DICOMDIR, viewers, texts), and results
    of ours that came back."""


@dataclass(frozen=True, kw_only=True)
class EnqueueResult:
    """What became of the files that were handed over."""

    accepted: tuple[Acceptance, ...]
    """One for each study of which there were files."""
    announced: tuple[Acceptance, ...]
    """One for each study of which there was a manifest alone."""
    refused: tuple[RefusedFile, ...]
    """Files that cannot be read, or that do not say which instance they are."""
    skipped: int
    """Files found in folders that are no DICOM instances."""


def accept_study(
    paths: Paths,
    *,
    manifest: Sequence[str] | None = None,
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.PYTHON,
    database: Database | None = None,
    site: Settings | None = None,  # bridges call it so
) -> AcceptedStudy:
    """Take over the files of one study; when this returns, the study will be predicted.

    `paths`: DICOM files, or folders of them, of one Study Instance UID. They are copied, so the
    caller may delete them. `manifest`: SOP Instance UIDs of everything that the study consists of;
    what is not among the files is waited for (it may come by any way), at most
    `manifest_patience_s`. Sending a study again is harmless. All files are taken over or none:
    raises Rejected (NO_FILES, NOT_DICOM, ..., SEVERAL_STUDIES; the sentence says "File 3 of 7";
    MANIFEST_INVALID), Resource (DISK_NEARLY_FULL, DISK_FULL, DISK_ERROR,
    INTAKE_FOLDER_MISSING), Transient (DATABASE_AWAY).
    """
    settings = site or current_settings()
    files = read_headers(paths)
    if files.refused:
        raise files.refused[0].error_with_position()
    _refuse_several_studies(files.readable)
    if manifest is not None:
        checked_manifest(files.readable[0].header.study_instance_uid, manifest)
    with open_database(database, settings) as ours:
        images = without_own_results(files.readable, ours)
        if not images:
            raise Rejected(
                "OWN_RESULTS_ONLY",
                "These files are results that pneumo made and sent; there is nothing to predict. "
                "Leave them out.",
            )
        accepted = _accept(
            images,
            manifest=manifest,
            priority=priority,
            site_ae_title=site_ae_title,
            source=source,
            database=ours,
            settings=settings,
        )
    answer = {answered.name: getattr(accepted, answered.name) for answered in fields(accepted)}
    own = len(files.readable) - len(images)
    return AcceptedStudy(**answer, skipped=files.skipped + own)


def expect_instances(
    study_instance_uid: str,
    sop_instance_uids: Sequence[str],
    *,
    priority: Priority = Priority.ROUTINE,
    source: Source = Source.PYTHON,
    database: Database | None = None,
    settings: Settings | None = None,
) -> Acceptance:
    """Say what a study consists of, before, while or after its images come by whatever way.

    The study is closed as soon as all of them are here. Raises Rejected MANIFEST_INVALID,
    Transient DATABASE_AWAY.
    """
    settings = settings or current_settings()
    manifest = checked_manifest(study_instance_uid, sop_instance_uids)
    with open_database(database, settings) as ours:
        return _expect_instances(
            manifest, priority=priority, source=source, database=ours, settings=settings
        )


def enqueue_paths(
    paths: Paths,
    *,
    manifests: Sequence[SenderManifest] = (),
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.CLI,
    database: Database | None = None,
    settings: Settings | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> EnqueueResult:
    """Take over any number of files of any number of studies; those refused are told one by one.

    `manifests`: what studies consist of, those of which there are no files here included; then
    there need be no file at all. Raises Rejected (NO_FILES), Resource and Transient as
    `accept_study`; studies before the one that failed are then taken over, and doing it all again
    is harmless.
    """
    settings = settings or current_settings()
    files = _NO_FILES if manifests and not paths else read_headers(paths, on_file)
    by_study: dict[str, list[ReadableFile]] = {}
    expected = {m.study_instance_uid: m for m in manifests}
    with open_database(database, settings) as ours:
        images = without_own_results(files.readable, ours)
        for file in images:
            by_study.setdefault(file.header.study_instance_uid, []).append(file)
        accepted = tuple(
            _accept(
                members,
                manifest=expected[study].sop_instance_uids if study in expected else None,
                priority=priority,
                site_ae_title=site_ae_title,
                source=source,
                database=ours,
                settings=settings,
            )
            for study, members in by_study.items()
        )
        announced = tuple(
            _expect_instances(
                manifest, priority=priority, source=source, database=ours, settings=settings
            )
            for study, manifest in expected.items()
            if study not in by_study
        )
    own = len(files.readable) - len(images)
    return EnqueueResult(
        accepted=accepted,
        announced=announced,
        refused=files.refused,
        skipped=files.skipped + own,
    )


_NO_FILES = FileScan(readable=(), refused=(), skipped=0)


def accept_instance(
    stored: StoredFile,
    header: InstanceHeader,
    *,
    priority: Priority,
    site_ae_title: str | None,
    database: Database,
    settings: Settings,
    source: Source = Source.C_STORE,
    timeout_s: float = C_STORE_DATABASE_TIMEOUT_S,
) -> Acceptance:
    """Take over one instance of a study that comes in one by one, as by C-STORE; it stays open for
    its idle window, or until all is here that a manifest names.

    Raises Transient (DATABASE_AWAY).
    """
    storage = IntakeStorage(settings.intake_dir)
    received = received_study(
        [(stored, header)],
        priority=priority,
        site_ae_title=site_ae_title,
        source=source,
    )
    return _record(
        database,
        lambda session: receive_instance(
            session,
            received,
            idle_window_s=settings.idle_window_s,
            manifest_patience_s=settings.manifest_patience_s,
            is_here=storage.holds,
        ),
        timeout_s=timeout_s,
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
    manifest: Sequence[str] | None,
    priority: Priority,
    site_ae_title: str | None,
    source: Source,
    database: Database,
    settings: Settings,
) -> Acceptance:
    """Files to the intake folder, then the one transaction."""
    refuse_when_nearly_full(settings)
    storage = intake_storage(settings, database)
    try:
        kept = [(_keep(storage, file), file.header) for file in files]
    except Resource as error:
        note_disk_failure(error, database)
        raise
    received = received_study(kept, priority=priority, site_ae_title=site_ae_title, source=source)
    return _record(
        database,
        lambda session: accept(
            session,
            received,
            manifest=manifest,
            manifest_patience_s=settings.manifest_patience_s,
            is_here=storage.holds,
        ),
        timeout_s=DATABASE_TIMEOUT_S,
    )


def _expect_instances(
    manifest: SenderManifest,
    *,
    priority: Priority,
    source: Source,
    database: Database,
    settings: Settings,
) -> Acceptance:
    return _record(
        database,
        lambda session: announce(
            session,
            manifest.study_instance_uid,
            manifest.sop_instance_uids,
            priority=priority,
            source=source,
            manifest_patience_s=settings.manifest_patience_s,
        ),
        timeout_s=DATABASE_TIMEOUT_S,
    )


def _keep(storage: IntakeStorage, file: ReadableFile) -> StoredFile:
    try:
        return storage.keep_file(file.path)
    except Rejected as error:  # it was there a moment ago
        raise RefusedFile(
            position=file.position, of=file.of, error=error
        ).error_with_position() from None


def _record(
    database: Database,
    work: Callable[[Session], Acceptance],
    *,
    timeout_s: float,
) -> Acceptance:
    """The transaction. A file that it left without a row is swept up later: deleting it now might
    take it from another process that has just made a row for the same content."""
    try:
        return in_transaction(database, work, timeout_s=timeout_s)
    except SQLAlchemyError as error:
        if not is_transient(error):
            raise
        raise Transient(
            "DATABASE_AWAY",
            "The database did not answer in time, so nothing was taken over. Check that it runs "
            "(PNEUMO_DATABASE_URL) and send again.",
        ) from None


@contextmanager
def open_database(database: Database | None, settings: Settings) -> Iterator[Database]:
    """The caller's database, or one of our own for the length of the call."""
    if database is not None:
        yield database
        return
    own = Database(settings.database_url)
    try:
        yield own
    finally:
        own.dispose()
