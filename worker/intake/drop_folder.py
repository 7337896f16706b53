"""Studies that a bridge hands over by a message: a folder under an opaque name, and that name.

For a bridge that reaches Redis and the intake folder but no database (issue 4, docs/bridges.md). It
writes into `handed-over/NAME.part`, renames that to `handed-over/NAME`, and sends NAME to the task
`pneumo.accept`. The rename is what counts, the message only makes it quick: the relay sends one for
every folder that lies there too long. Files are taken over as by `accept_study`, and the folder is
deleted once rows refer to all of them, so that dying anywhere only means doing it again. A folder that
cannot be deleted is a condition that `pneumo status` shows; its row also says that the folder is done.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from db.engine.session import Database
from db.ledger.conditions import active_conditions, end_condition, note_condition
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected
from worker.intake.accept import enqueue_paths
from worker.intake.files import RefusedFile
from worker.intake.manifest import read_manifests
from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

NAME = re.compile(r"[0-9a-f]{32}(\.stat)?")
"""32 hexadecimal digits, which no UID, date or person's name looks like; `.stat` asks for haste."""
REFUSED = "refused"
"""Inner folder of what could not be taken over, each with its reasons."""
REASONS = "reasons.json"
MANIFEST = "manifest.json"
"""What the studies consist of, if the bridge says it (`worker.intake.manifest`)."""


SUBJECT = "handed-over folder "
"""Of a condition, before the folder's opaque name."""
ACCEPTED_UNREMOVABLE, REFUSED_UNMOVABLE = "HANDOVER_CANNOT_LEAVE", "REFUSED_HANDOVER_CANNOT_LEAVE"


class HandoverOutcome(StrEnum):
    """What became of a message."""

    TAKEN_OVER = "taken_over"
    """Rows refer to every file; the folder is gone."""
    REFUSED = "refused"
    """At least one file could not be taken over: the folder went to `refused`, with the reasons."""
    ABSENT = "absent"
    """There is no such folder: an earlier message was quicker, or the bridge has not renamed it."""
    STAYS = "stays"
    """All is done and the folder cannot leave: told once, and tried again with the next message."""
    BUSY = "busy"
    """Another worker is at it."""


def accept_folder(name: str, settings: Settings, database: Database) -> HandoverOutcome:
    """Take over the studies of one folder; again after a death, to the same end.

    Raises Rejected HANDOVER_NAME_WRONG, Resource and Transient as `accept_study`; then the folder
    stays for the next message.
    """
    if not NAME.fullmatch(name):
        raise Rejected(
            "HANDOVER_NAME_WRONG",
            f"A message names a folder of {len(name)} characters that is no opaque name; expected "
            "32 hexadecimal digits, and .stat for haste (docs/bridges.md).",
        )
    folder = settings.handed_over_dir / name
    with _locked(folder) as state:
        if state is not None:
            return state
        done = _completed_code(name, database)
        refused = _accept(folder, settings, database) if done is None else ()
        is_refused = bool(refused) or done == REFUSED_UNMOVABLE
        try:
            if is_refused:
                aside = settings.handed_over_dir / REFUSED / name
                _move_to_refused(folder, aside, refused)
                if not refused and not (aside / REASONS).exists():
                    refused = _accept(aside, settings, database)  # which could not be written
                _write_reasons(aside, refused)
            else:
                shutil.rmtree(folder)
        except OSError as error:
            _note_unremovable(
                name, error, REFUSED_UNMOVABLE if is_refused else ACCEPTED_UNREMOVABLE, database
            )
            return HandoverOutcome.STAYS
        if done is not None:
            _end(database, SUBJECT + name)
    return HandoverOutcome.REFUSED if is_refused else HandoverOutcome.TAKEN_OVER


def end_conditions_of_removed_folders(settings: Settings, database: Database) -> None:
    """Folders that could not leave and that somebody has removed since are no condition any more."""
    with database.reading() as session:
        told = [c.subject for c in active_conditions(session) if c.subject.startswith(SUBJECT)]
    for subject in told:
        if not (settings.handed_over_dir / subject.removeprefix(SUBJECT)).exists():
            _end(database, subject)


def overdue_folders(settings: Settings, *, older_than_s: float) -> list[str]:
    """Names of folders that have lain here for so long: their message was lost, or came too soon."""
    latest = time.time() - older_than_s
    found = []
    with suppress(FileNotFoundError), os.scandir(settings.handed_over_dir) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if NAME.fullmatch(entry.name) and entry.stat().st_ctime < latest:
                    found.append(entry.name)
    return sorted(found)


def count_refused_folders(settings: Settings) -> int:
    """How many folders lie in `refused` and wait for a person."""
    with suppress(FileNotFoundError):
        return sum(1 for _ in (settings.handed_over_dir / REFUSED).iterdir())
    return 0


def priority_of(name: str) -> Priority:
    """STAT for a name that says so."""
    return Priority.STAT if name.endswith(".stat") else Priority.ROUTINE


@contextmanager
def _locked(folder: Path) -> Iterator[HandoverOutcome | None]:
    """Hold the folder for as long as this lasts; a process that dies lets go of it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield HandoverOutcome.ABSENT
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield HandoverOutcome.BUSY
            return
        # Whoever held it before us may have finished between our opening and our locking it.
        yield None if folder.is_dir() else HandoverOutcome.ABSENT
    finally:
        os.close(descriptor)


def _accept(folder: Path, settings: Settings, database: Database) -> tuple[RefusedFile, ...]:
    """The files that could not be taken over; the others are rows now."""
    try:
        manifest = folder / MANIFEST
        found = enqueue_paths(
            folder,
            manifests=read_manifests(manifest) if manifest.exists() else (),
            priority=priority_of(folder.name),
            source=Source.MESSAGE,
            database=database,
            settings=settings,
        )
    except Rejected as error:  # nothing in it, or nothing that may be read
        return (RefusedFile(position=0, of=0, error=error),)
    for acceptance in found.accepted:
        log.info(
            "study_handed_over",
            study_key=acceptance.study_key,
            instances=len(acceptance.instances),
        )
    return found.refused


def _completed_code(name: str, database: Database) -> str | None:
    """The code under which this folder was told to stay although all of it is done; else None."""
    with database.reading() as session:
        told = {condition.subject: condition.code for condition in active_conditions(session)}
    return told.get(SUBJECT + name)


def _note_unremovable(name: str, error: OSError, code: str, database: Database) -> None:
    what, do = {
        ACCEPTED_UNREMOVABLE: ("taken over", "deleted"),
        REFUSED_UNMOVABLE: ("refused", "moved to handed-over/refused"),
    }[code]
    reasons = " The reasons are in its reasons.json, or in the log under handover_refused."
    why = errno.errorcode.get(error.errno or 0, "unknown reason")
    sentence = (
        f"This folder in handed-over of the intake folder was {what} and cannot be {do} ({why}). Let "
        "the user of the workers write to it and to what it holds, or remove it by hand; it is not "
        f"taken over again.{reasons if code == REFUSED_UNMOVABLE else ''}"
    )
    with database.transaction() as session:
        note_condition(session, SUBJECT + name, code, sentence)
    log.warning("handover_stays", folder=name, code=code, why=why)


def _end(database: Database, subject: str) -> None:
    with database.transaction() as session:
        end_condition(session, subject)


def _move_to_refused(folder: Path, target: Path, refused: tuple[RefusedFile, ...]) -> None:
    """Keep the whole folder for a person; renaming it back after mending it hands it over again."""
    if refused:
        codes = sorted({r.error.code for r in refused})
        log.warning("handover_refused", folder=folder.name, files=len(refused), codes=codes)
    try:
        target.parent.mkdir(mode=0o750, exist_ok=True)
        if target.exists():  # mended in vain: the newer try says why
            shutil.rmtree(target)
        folder.rename(target)
    except OSError:
        with suppress(OSError):  # they go with the folder when it can be moved
            _write_reasons(folder, refused)
        raise


def _write_reasons(folder: Path, refused: tuple[RefusedFile, ...]) -> None:
    """Nothing refused now: what an earlier try wrote stays."""
    if not refused:
        return
    reasons = [
        {"file": r.position, "of": r.of, "code": r.error.code, "sentence": r.error.sentence}
        for r in refused
    ]
    (folder / REASONS).write_text(json.dumps(reasons, indent=1))
