"""Studies that a bridge hands over by a message: a folder under an opaque name, and that name.

For a bridge that reaches Redis and the intake folder but no database (docs/bridges.md). It writes into
`handed-over/NAME.part`, renames that to `handed-over/NAME`, and sends NAME to the task `pneumo.accept`.
The rename is what counts, the message only makes it quick: the relay sends one for every folder that
has waited too long. Files are accepted as by `accept_study`, and the folder is deleted once rows refer
to all of them, so that dying anywhere only means doing it again. A folder that cannot be deleted is a
condition that `pneumo status` shows; its row also says that the folder is done. A folder that fails for
an unforeseen reason, or kills or hangs its worker, is tried a few times and then moved to `refused`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database, is_transient
from db.ledger.conditions import active_conditions, end_condition, note_condition
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected, Resource, Transient
from worker.intake.accept import enqueue_paths
from worker.intake.attempts import AttemptCounter, names_with_attempts
from worker.intake.files import RefusedFile, limits_of
from worker.intake.manifest import read_manifests
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.untrusted_files import UntrustedPath, errno_name, irregular, link_refused

log = get_logger(__name__)

NAME = re.compile(r"[0-9a-f]{32}(\.stat)?")
"""32 hexadecimal digits, which no UID, date or person's name looks like; `.stat` asks for priority."""
REFUSED = "refused"
"""Inner folder of what could not be accepted, each with its reasons."""
REASONS = "reasons.json"
MANIFEST = "manifest.json"
"""The instances of the studies, if the bridge names them (`worker.intake.manifest`)."""
NO_FOLDER = "handed-over"
"""Name in `refused/NAME` of something that is no folder."""

SUBJECT = "handed-over folder "
"""Of a condition, before the folder's opaque name."""
ACCEPTED_UNREMOVABLE, REFUSED_UNMOVABLE = "HANDOVER_CANNOT_LEAVE", "REFUSED_HANDOVER_CANNOT_LEAVE"
FAILED = "HANDOVER_FAILED"


class HandoverOutcome(StrEnum):
    """The result of one message."""

    TAKEN_OVER = "taken_over"
    """Rows refer to every file; the folder is deleted."""
    REFUSED = "refused"
    """At least one file could not be accepted: the folder moved to `refused`, with the reasons."""
    ABSENT = "absent"
    """There is no such folder: an earlier message was quicker, or the bridge has not renamed it."""
    STAYS = "stays"
    """Everything is done and the folder cannot be removed: a condition, tried again next time."""
    BUSY = "busy"
    """Another worker is working on it."""
    FAILED = "failed"
    """An unforeseen error: a condition, tried again at the next message, at last refused."""


@dataclass(frozen=True, kw_only=True)
class _Handover:
    """One folder that was handed over, and what is needed to accept it."""

    name: str
    settings: Settings
    database: Database
    on_file: Callable[[], None]

    @property
    def folder(self) -> UntrustedPath:
        return UntrustedPath(top=self.settings.handed_over_dir, names=(self.name,))

    @property
    def refused(self) -> UntrustedPath:
        return UntrustedPath(top=self.settings.handed_over_dir, names=(REFUSED, self.name))

    @property
    def attempts(self) -> AttemptCounter:
        return AttemptCounter(self.settings, self.name)


def accept_folder(
    name: str, settings: Settings, database: Database, on_file: Callable[[], None] = lambda: None
) -> HandoverOutcome:
    """Accept the studies of one folder; after a death, again, to the same end.

    `on_file` is called whenever a file is done. Raises Rejected HANDOVER_NAME_WRONG, Resource and
    Transient as `accept_study`; then the folder remains for the next message.
    """
    if not NAME.fullmatch(name):
        raise Rejected(
            "HANDOVER_NAME_WRONG",
            f"A message names a folder of {len(name)} characters that is no opaque name; expected "
            "32 hexadecimal digits, and .stat for priority (docs/bridges.md).",
        )
    handover = _Handover(name=name, settings=settings, database=database, on_file=on_file)
    with _locked(handover) as state:
        if state is not None:
            return state
        noted = _noted_code(handover)
        done = noted if noted in (ACCEPTED_UNREMOVABLE, REFUSED_UNMOVABLE) else None
        refused: tuple[RefusedFile, ...] = ()
        if done is None:
            attempt = _attempt(handover, is_noted=noted is not None)
            if attempt is None:
                return HandoverOutcome.FAILED
            refused = attempt
        is_refused = bool(refused) or done == REFUSED_UNMOVABLE
        try:
            if is_refused:
                _move_to_refused(handover, refused)
            else:
                shutil.rmtree(handover.folder.path)  # which follows no link
        except OSError as error:
            _note_unremovable(
                handover, error, REFUSED_UNMOVABLE if is_refused else ACCEPTED_UNREMOVABLE
            )
            return HandoverOutcome.STAYS
        was_noted = noted is not None or handover.attempts.count() > 1
        handover.attempts.forget()
        if was_noted:
            _end(database, SUBJECT + name)
    return HandoverOutcome.REFUSED if is_refused else HandoverOutcome.TAKEN_OVER


def end_conditions_of_removed_folders(settings: Settings, database: Database) -> None:
    """End the conditions of folders that somebody has removed since."""
    top = UntrustedPath(top=settings.handed_over_dir)
    with database.reading() as session:
        noted = [c.subject for c in active_conditions(session) if c.subject.startswith(SUBJECT)]
    for subject in noted:
        if not (top / subject.removeprefix(SUBJECT)).exists():
            _end(database, subject)
    for name in names_with_attempts(settings):
        if not (top / name).exists():
            AttemptCounter(settings, name).forget()


def overdue_folders(settings: Settings, *, older_than_s: float) -> list[str]:
    """Return the names of folders that have waited so long: their message was lost or too early."""
    latest = time.time() - older_than_s
    found = []
    with suppress(FileNotFoundError), os.scandir(settings.handed_over_dir) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if NAME.fullmatch(entry.name) and status.st_ctime < latest:
                    found.append(entry.name)
    return sorted(found)


def count_refused_folders(settings: Settings) -> int:
    """Return how many folders in `refused` wait for a person."""
    with suppress(FileNotFoundError):
        return sum(1 for _ in (settings.handed_over_dir / REFUSED).iterdir())
    return 0


def priority_of(name: str) -> Priority:
    """Return STAT for a name that asks for it."""
    return Priority.STAT if name.endswith(".stat") else Priority.ROUTINE


@contextmanager
def _locked(handover: _Handover) -> Iterator[HandoverOutcome | None]:
    """Hold the folder for the length of the block; a process that dies releases it."""
    try:
        status = handover.folder.status()
    except FileNotFoundError:
        yield HandoverOutcome.ABSENT
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _refuse_non_folder(handover, status.st_mode)
        return
    with handover.folder.opened_folder() as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield HandoverOutcome.BUSY
            return
        # Another worker may have finished between our opening it and our locking it.
        yield None if _is_still(handover.folder, descriptor) else HandoverOutcome.ABSENT


def _is_still(folder: UntrustedPath, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.status(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _attempt(handover: _Handover, *, is_noted: bool) -> tuple[RefusedFile, ...] | None:
    """Accept the files and return those refused; None if that failed and may be tried again.

    The attempt is counted before anything is opened: one that hangs or kills the process counts.
    """
    attempts, limit = handover.attempts, handover.settings.handover_attempts
    number = attempts.begin()
    if number > limit:
        return (_whole(_failed(limit)),)
    if number > 1 and not is_noted:  # the process of an earlier attempt died or was ended
        _note_failed(handover, number - 1)
    try:
        return _accept(handover, handover.folder)
    except Exception as error:
        if _is_outage(error):
            attempts.withdraw()
            raise
        reference = log_traceback(error, log, code=FAILED, folder=handover.name, attempt=number)
        _note_failed(handover, number, reference)
        return None


def _accept(handover: _Handover, folder: UntrustedPath) -> tuple[RefusedFile, ...]:
    """Accept the files; return those that were refused, while the others are rows now."""
    settings = handover.settings
    manifest = folder / MANIFEST
    try:
        found = enqueue_paths(
            folder,
            manifests=read_manifests(manifest) if manifest.exists() else (),
            priority=priority_of(handover.name),
            source=Source.MESSAGE,
            database=handover.database,
            settings=settings,
            limits=limits_of(settings, entries=settings.max_handover_files),
            on_file=handover.on_file,
            on_copy=handover.on_file,
        )
    except (
        Rejected
    ) as error:  # the folder as a whole: no file in it, or too many, or a bad manifest
        return (_whole(error),)
    for acceptance in found.accepted:
        log.info(
            "study_handed_over",
            study_key=acceptance.study_key,
            instances=len(acceptance.instances),
        )
    return found.refused


def _whole(error: Rejected) -> RefusedFile:
    """A refusal of the folder as a whole."""
    return RefusedFile(position=0, of=0, error=error)


def _is_outage(error: Exception) -> bool:
    """Whether database or disk failed, which ends by itself and says nothing about the folder."""
    if isinstance(error, SQLAlchemyError):
        return is_transient(error)
    return isinstance(error, Transient) or (
        isinstance(error, Resource) and error.code != "OUT_OF_MEMORY"
    )


def _failed(attempts: int) -> Rejected:
    return Rejected(
        FAILED,
        f"Accepting this folder failed {attempts} times, or ended the worker's process "
        "(PNEUMO_HANDOVER_ATTEMPTS). Look for HANDOVER_FAILED and worker_hangs in the log, remove "
        "the file at fault, and hand the folder over again.",
    )


def _note_failed(handover: _Handover, attempts: int, reference: str = "") -> None:
    traceback = f" The last traceback is {reference} in the log." if reference else ""
    sentence = (
        f"Accepting this folder in handed-over failed or ended the worker's process; {attempts} of "
        f"{handover.settings.handover_attempts} attempts are used, then it is moved to "
        f"handed-over/refused.{traceback}"
    )
    with handover.database.transaction() as session:
        note_condition(session, SUBJECT + handover.name, FAILED, sentence)


def _noted_code(handover: _Handover) -> str | None:
    """Return the code of this folder's condition, if one holds."""
    with handover.database.reading() as session:
        noted = {condition.subject: condition.code for condition in active_conditions(session)}
    return noted.get(SUBJECT + handover.name)


def _note_unremovable(handover: _Handover, error: OSError, code: str) -> None:
    what, do = {
        ACCEPTED_UNREMOVABLE: ("accepted", "deleted"),
        REFUSED_UNMOVABLE: ("refused", "moved to handed-over/refused"),
    }[code]
    reasons = " The reasons are in its reasons.json, or in the log under handover_refused."
    why = errno_name(error)
    sentence = (
        f"This folder in handed-over of the intake folder was {what} and cannot be {do} ({why}). Let "
        "the user of the workers write to it and to its content, or remove it by hand; it is not "
        f"accepted again.{reasons if code == REFUSED_UNMOVABLE else ''}"
    )
    with handover.database.transaction() as session:
        note_condition(session, SUBJECT + handover.name, code, sentence)
    log.warning("handover_stays", folder=handover.name, code=code, why=why)


def _end(database: Database, subject: str) -> None:
    with database.transaction() as session:
        end_condition(session, subject)


def _refuse_non_folder(handover: _Handover, mode: int) -> HandoverOutcome:
    """Put a link, FIFO or file that bears a folder's name into a folder in `refused`."""
    error = link_refused() if stat.S_ISLNK(mode) else irregular(mode, expected="a folder")
    _log_refused(handover, (_whole(error),))
    try:
        handover.refused.make_folder()
        handover.folder.move_to(handover.refused / NO_FOLDER)
        _write_reasons(handover.refused, (_whole(error),))
    except FileNotFoundError:  # another worker was quicker
        return HandoverOutcome.ABSENT
    except OSError as failure:
        _note_unremovable(handover, failure, REFUSED_UNMOVABLE)
        return HandoverOutcome.STAYS
    return HandoverOutcome.REFUSED


def _move_to_refused(handover: _Handover, refused: tuple[RefusedFile, ...]) -> None:
    """Keep the whole folder for a person; renaming it back after mending hands it over again.

    `refused`: empty if an earlier message refused it and could not move it. Raises OSError.
    """
    if refused:
        _log_refused(handover, refused)
    try:
        UntrustedPath(top=handover.refused.top, names=(REFUSED,)).make_folder()
        _move(handover.folder, handover.refused)
    except OSError:
        with suppress(OSError):  # they move with the folder, when it can be moved
            _write_reasons(handover.folder, refused)
        raise
    if not refused and not (handover.refused / REASONS).exists():
        refused = _accept(handover, handover.refused)  # they could not be written then
    _write_reasons(handover.refused, refused)


def _move(folder: UntrustedPath, target: UntrustedPath) -> None:
    folder.move_to(target)


def _log_refused(handover: _Handover, refused: tuple[RefusedFile, ...]) -> None:
    codes = sorted({r.error.code for r in refused})
    log.warning("handover_refused", folder=handover.name, files=len(refused), codes=codes)


def _write_reasons(folder: UntrustedPath, refused: tuple[RefusedFile, ...]) -> None:
    """Write the reasons; without any, those of an earlier attempt remain."""
    if not refused:
        return
    reasons = [
        {"file": r.position, "of": r.of, "code": r.error.code, "sentence": r.error.sentence}
        for r in refused
    ]
    target = folder / REASONS
    try:
        target.write_text(json.dumps(reasons, indent=1))
    except IsADirectoryError as error:  # a folder of that name: nothing of it is ours to delete
        log.warning("reasons_not_written", folder=folder.names[-1], why=errno_name(error))
