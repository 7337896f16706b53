"""Accept studies: store the files first, then commit one transaction, and only then report success.

`accept_study` is the contract for a PACS bridge in Python; the command line and the listener use the
same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.engine.session import Database, is_transient
from db.studies.intake import accept, announce, receive_instance
from db.values import Acceptance, ReceivedStudy
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected, Resource, Transient
from worker.imaging.header import InstanceHeader
from worker.intake.files import (
    FileScan,
    Paths,
    ReadableFile,
    RefusedFile,
    keep_copy,
    limits_of,
    read_headers,
)
from worker.intake.manifest import SenderManifest, checked_manifest
from worker.intake.own_results import without_own_results
from worker.intake.received_study import received_study
from worker.intake.wait_for_studies import wait_for_studies
from worker.settings import Settings, current_settings
from worker.storage.disk import refuse_when_nearly_full
from worker.storage.disk_condition import note_disk_failure
from worker.storage.intake_folder import IntakeStorage, StoredFile
from worker.storage.storage_factory import intake_storage
from worker.storage.untrusted_files import IntakeLimits
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
"""How long to wait for a database that is away, while a DICOM sender waits for its answer."""
DATABASE_TIMEOUT_S = 30.0
"""The same for a program or a person."""


@dataclass(frozen=True, kw_only=True)
class AcceptedStudy(Acceptance):
    """The acceptance, and the number of files that were left out."""

    skipped: int = 0
    """Files found in folders that are no DICOM (viewers, texts), and our own
    results that came back."""


@dataclass(frozen=True, kw_only=True)
class EnqueueResult:
    """What became of the given files."""

    accepted: tuple[Acceptance, ...]
    """One for each study with files."""
    announced: tuple[Acceptance, ...]
    """One for each study with a manifest alone."""
    refused: tuple[RefusedFile, ...]
    """Files that cannot be read, or that do not identify their instance."""
    skipped: int
    """Files found in folders that are no DICOM, and our own results that came back."""
    directories: int = 0
    """DICOMDIR files found in folders: the files that they list are read themselves."""


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
    """Accept the files of one study; when this returns, the study will be predicted.

    Accepting a study again is harmless. Either all files are accepted or none.

    Args:
        paths: DICOM files, or folders of them, of one Study Instance UID. They are copied, so the
            caller may delete them. A path given here may be a link; links inside a folder are refused.
        manifest: SOP Instance UIDs of all instances of the study. Those that are not among the files
            may come by any way and are waited for, at most `manifest_patience_s`.

    Raises:
        Rejected: NO_FILES, NOT_DICOM, ..., SEVERAL_STUDIES (the sentence says "File 3 of 7"),
            MANIFEST_INVALID, OWN_RESULTS_ONLY.
        Resource: DISK_NEARLY_FULL, DISK_FULL, DISK_ERROR, INTAKE_FOLDER_MISSING.
        Transient: DATABASE_AWAY.
    """
    settings = site or current_settings()
    limits = limits_of(settings)
    files = read_headers(paths, limits)
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
        refuse_when_nearly_full(settings)
        kept, refused = _keep(images, settings, ours)
        if refused:
            raise refused[0].error_with_position()
        accepted = _record_study(
            received_study(kept, priority=priority, site_ae_title=site_ae_title, source=source),
            manifest=manifest,
            database=ours,
            settings=settings,
        )
    answer = {name.name: getattr(accepted, name.name) for name in fields(accepted)}
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
    """Announce the instances of a study, before, while or after they come by whatever way.

    The study is closed as soon as all of them have arrived. Raises Rejected MANIFEST_INVALID,
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
    limits: IntakeLimits | None = None,
    on_file: Callable[[], None] = lambda: None,
    on_copy: Callable[[], None] = lambda: None,
) -> EnqueueResult:
    """Accept any number of files of any number of studies; each refused file is reported by itself.

    A study that fails for an unforeseen reason does not hold up the others: its error is raised after
    them. Repeating the call is harmless.

    Args:
        manifests: The instances of studies, also of those without files here; with manifests there
            need be no file at all.
        on_file, on_copy: Called after each file that was read, and after each that was copied.

    Raises:
        Rejected: NO_FILES, FOLDER_UNREADABLE, FOLDER_TOO_DEEP, TOO_MANY_FILES.
        Resource, Transient: As `accept_study`; the studies before are then accepted.
    """
    settings = settings or current_settings()
    limits = limits or limits_of(settings)
    files = _NO_FILES if manifests and not paths else read_headers(paths, limits, on_file)
    by_study: dict[str, list[ReadableFile]] = {}
    expected = {m.study_instance_uid: m for m in manifests}
    accepted: list[Acceptance] = []
    refused = list(files.refused)
    failures: list[Exception] = []
    with open_database(database, settings) as ours:
        images = without_own_results(files.readable, ours)
        for file in images:
            by_study.setdefault(file.header.study_instance_uid, []).append(file)
        for study, members in by_study.items():
            refuse_when_nearly_full(settings)
            kept, changed = _keep(members, settings, ours, on_copy)
            refused += changed
            if not kept:
                continue
            try:
                received = received_study(
                    kept, priority=priority, site_ae_title=site_ae_title, source=source
                )
                manifest = expected[study].sop_instance_uids if study in expected else None
                accepted.append(
                    _record_study(received, manifest=manifest, database=ours, settings=settings)
                )
            except (Resource, Transient):
                raise
            except Exception as error:  # one study must not hold up its neighbours
                if is_transient(error):
                    raise
                failures.append(error)
        announced = tuple(
            _expect_instances(
                manifest, priority=priority, source=source, database=ours, settings=settings
            )
            for study, manifest in expected.items()
            if study not in by_study
        )
    if failures:
        raise failures[0]
    own = len(files.readable) - len(images)
    return EnqueueResult(
        accepted=tuple(accepted),
        announced=announced,
        refused=tuple(sorted(refused, key=lambda file: file.position)),
        skipped=files.skipped + own,
        directories=files.directories,
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
    """Accept one instance of a study whose instances come one by one, as by C-STORE.

    The study stays open for its idle window, or until everything has arrived that a manifest names.
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
                "accept_study expects the files of one. Call it once for each study, or use "
                "`pneumo enqueue`, which sorts files by study.",
            )


def _keep(
    files: Sequence[ReadableFile],
    settings: Settings,
    database: Database,
    on_copy: Callable[[], None] = lambda: None,
) -> tuple[list[tuple[StoredFile, InstanceHeader]], list[RefusedFile]]:
    """Copy files into the intake folder; return the copies, and the files that changed meanwhile."""
    storage = intake_storage(settings, database)
    kept, refused = [], []
    for file in files:
        try:
            kept.append(
                keep_copy(
                    file.source,
                    storage,
                    max_bytes=settings.max_file_bytes,
                    expected=file.header,
                )
            )
        except Rejected as error:
            refused.append(
                RefusedFile(position=file.position, of=file.of, error=error, path=file.path)
            )
        except Resource as error:
            note_disk_failure(error, database)
            raise
        on_copy()
    return kept, refused


def _record_study(
    received: ReceivedStudy,
    *,
    manifest: Sequence[str] | None,
    database: Database,
    settings: Settings,
) -> Acceptance:
    """Commit the one transaction that accepts a study."""
    storage = IntakeStorage(settings.intake_dir)
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


def _record(
    database: Database,
    work: Callable[[Session], Acceptance],
    *,
    timeout_s: float,
) -> Acceptance:
    """Commit the transaction. A stored file without a row is swept later: deleting it now might
    remove it from under another process that has just made a row for the same content."""
    try:
        return in_transaction(database, work, timeout_s=timeout_s)
    except SQLAlchemyError as error:
        if not is_transient(error):
            raise
        raise Transient(
            "DATABASE_AWAY",
            "The database did not answer in time, so nothing was accepted. Check that it runs "
            "(PNEUMO_DATABASE_URL) and send again.",
        ) from None


@contextmanager
def open_database(database: Database | None, settings: Settings) -> Iterator[Database]:
    """Yield the caller's database, or one of our own for the length of the call."""
    if database is not None:
        yield database
        return
    own = Database(settings.database_url)
    try:
        yield own
    finally:
        own.dispose()
