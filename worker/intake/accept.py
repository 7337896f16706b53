"""Taking studies over: files first, then one transaction, and only then yes.

`accept_study` is the contract for a PACS bridge in Python; the command line and the listener go
through the same functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from db.enums import Priority, Source, StudyState
from db.intake import accept, receive_instance
from db.overview import study_summaries
from db.records import Acceptance, ReceivedInstance, ReceivedStudy, StudySummary
from db.session import Database
from worker.errors import Rejected
from worker.imaging import vocabulary
from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header
from worker.intake.storage import IntakeStorage, StoredFile
from worker.patience import in_transaction
from worker.settings import Settings, settings

SKIPPED_NAMES = {"DICOMDIR"}
"""A media's table of contents: no image, and not the sender's mistake."""


@dataclass(frozen=True, kw_only=True)
class RefusedFile:
    """A file that cannot be taken over, by its place among those given (a path may hold a name)."""

    position: int
    """From 1, in sorted order."""
    of: int
    """How many files were given."""
    error: Rejected
    """Why."""


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """What became of the files that were handed over."""

    accepted: tuple[Acceptance, ...]
    """One for each study."""
    refused: tuple[RefusedFile, ...]
    """Files without a readable DICOM header."""


def accept_study(
    paths: Sequence[Path | str],
    *,
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.PYTHON,
    database: Database | None = None,
    site: Settings | None = None,
) -> Acceptance:
    """Take over the files of one study; when this returns, the study will be predicted.

    `paths`: DICOM files, or folders of them, of one Study Instance UID. They are copied, so the
    caller may delete them. Sending a study again is harmless. Raises `Rejected` (NO_FILES,
    NOT_DICOM…, SEVERAL_STUDIES), `Resource` (DISK_FULL) or SQLAlchemy's OperationalError; then
    nothing was taken over.
    """
    site = site or settings()
    headers = [(path, read_header(path)) for path in _files(paths)]
    studies = {header.study_instance_uid for _, header in headers}
    if len(studies) > 1:
        raise Rejected(
            "SEVERAL_STUDIES",
            f"The {len(headers)} files belong to {len(studies)} studies; accept_study takes one. "
            "Call it once for each study, or use `pneumo enqueue`.",
        )
    with _database(database, site) as opened:
        return _accept(headers, priority, site_ae_title, source, opened, site)


def enqueue_paths(
    paths: Sequence[Path | str],
    *,
    priority: Priority = Priority.ROUTINE,
    site_ae_title: str | None = None,
    source: Source = Source.CLI,
    database: Database | None = None,
    site: Settings | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> Enqueued:
    """Take over any number of files of any number of studies; unreadable ones are named.

    Raises `Rejected` ("NO_FILES") if there is nothing at all, `Resource` if the disk is full.
    """
    site = site or settings()
    files = _files(paths)
    by_study: dict[str, list[tuple[Path, InstanceHeader]]] = {}
    refused = []
    for position, path in enumerate(files, start=1):
        try:
            header = read_header(path)
            by_study.setdefault(header.study_instance_uid, []).append((path, header))
        except Rejected as error:
            refused.append(RefusedFile(position=position, of=len(files), error=error))
        on_file()
    with _database(database, site) as opened:
        accepted = tuple(
            _accept(headers, priority, site_ae_title, source, opened, site)
            for headers in by_study.values()
        )
    return Enqueued(accepted=accepted, refused=tuple(refused))


def accept_instance(
    stored: StoredFile,
    header: InstanceHeader,
    *,
    priority: Priority,
    site_ae_title: str | None,
    database: Database,
    site: Settings,
) -> Acceptance:
    """Take over one instance that came by C-STORE; the study stays open for its idle window."""
    received = _received([(stored, header)], priority, site_ae_title, Source.C_STORE)
    return in_transaction(
        database,
        lambda session: receive_instance(session, received, idle_window_s=site.idle_window_s),
        patience_s=5.0,  # a sender waits no longer for its answer than that
    )


def wait_for(
    database: Database,
    study_keys: Sequence[str],
    *,
    timeout_s: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[StudySummary, ...]:
    """Wait until these studies are done or parked, or for `timeout_s`; what they have come to."""
    until = time.monotonic() + timeout_s
    while True:
        with database.reading() as session:
            summaries = tuple(study_summaries(session, study_keys))
        finished = sum(s.state in (StudyState.DONE, StudyState.PARKED) for s in summaries)
        on_progress(finished)
        if finished == len(study_keys) or time.monotonic() >= until:
            return summaries
        time.sleep(0.2)


def _accept(
    headers: Sequence[tuple[Path, InstanceHeader]],
    priority: Priority,
    site_ae_title: str | None,
    source: Source,
    database: Database,
    site: Settings,
) -> Acceptance:
    """Files to the intake folder, then the one transaction."""
    storage = IntakeStorage(site.intake_dir)
    stored = [(storage.keep_file(path), header) for path, header in headers]
    received = _received(stored, priority, site_ae_title, source)
    return in_transaction(database, lambda session: accept(session, received))


def _received(
    stored: Sequence[tuple[StoredFile, InstanceHeader]],
    priority: Priority,
    site_ae_title: str | None,
    source: Source,
) -> ReceivedStudy:
    _, first = stored[0]
    return ReceivedStudy(
        study_instance_uid=first.study_instance_uid,
        instances=tuple(_received_instance(file, header) for file, header in stored),
        priority=priority,
        source=source,
        site_ae_title=site_ae_title,
        patient_id=first.patient_id,
        accession_number=first.accession_number,
        patient_sex=first.patient_sex,
        patient_age_years=first.patient_age_years,
    )


def _received_instance(file: StoredFile, header: InstanceHeader) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=header.sop_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        transfer_syntax_name=_syntax_name(header.transfer_syntax_uid),
        file_sha256=file.sha256,
        file_name=file.name,
        file_bytes=file.size,
        modality=_quotable(header.modality, vocabulary.MODALITIES),
        body_part=_quotable(header.body_part_examined, vocabulary.BODY_PART_WORDS),
        view_position=_quotable(header.view_position, vocabulary.VIEW_WORDS),
        manufacturer=header.manufacturer,
        rows=header.rows,
        columns=header.columns,
    )


def _quotable(value: str | None, terms: frozenset[str]) -> str | None:
    """The value if it is made of the standard's words: analysts' columns hold nothing else."""
    return value if value and vocabulary.words(value) <= terms else None


def _syntax_name(uid: str) -> str | None:
    """Registered name of a transfer syntax; None for a private one."""
    known = UID(uid)
    return known.name if known.name != uid else None


def _files(paths: Iterable[Path | str]) -> list[Path]:
    """Every file given, folders searched through, in sorted order."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [path for path in found if path.name not in SKIPPED_NAMES]
    if not files:
        raise Rejected("NO_FILES", "No file was given. Name DICOM files, or folders that hold some.")
    return files


@contextmanager
def _database(database: Database | None, site: Settings) -> Iterator[Database]:
    """The caller's database, or one of our own for the length of the call."""
    if database is not None:
        yield database
        return
    own = Database(site.database_url)
    try:
        yield own
    finally:
        own.dispose()
