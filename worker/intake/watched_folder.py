"""A watched folder: DICOM files that somebody puts there are taken over and leave it.

The folder may be a share of another machine, where nobody tells us of changes, so it is looked
through again and again. A file that did not change between two looks `watch_settle_s` apart is
complete. Taken files are deleted, after the rows are committed; what cannot be taken over goes to
`refused` inside the folder with its reason beside it; what fails for a reason without a name stays,
and the others go on. Files under `stat` go first. Names that begin
with a dot or end with .part or .tmp are for writers who rename when they have finished.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from db.engine.session import Database, is_transient
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected, Resource, Transient
from worker.imaging.reading import read_header
from worker.intake.accept import DATABASE_TIMEOUT_S, accept_instance
from worker.intake.own_results import is_own_result
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.disk import refuse_when_nearly_full
from worker.storage.intake_folder import unreadable
from worker.storage.storage_factory import intake_storage

log = get_logger(__name__)

STAT, REFUSED = "stat", "refused"
UNFINISHED = (".part", ".tmp")
FILE_FAILED = "WATCH_FILE_FAILED"
EMPTY_FOLDER_S = 3600.0
"""An empty inner folder goes after so long; sooner, its maker may be about to write into it."""
RETRY_FAILED_S = 60.0
"""What failed for a reason without a name is tried again so often."""

FileStamp = tuple[int, int, int]
"""Inode, size in bytes, time of the last change in ns."""


@dataclass(frozen=True, kw_only=True)
class WatchPass:
    """What one look through the folder came to."""

    taken_over: int = 0
    refused: int = 0
    cannot_leave: int = 0
    """Files that were taken over or refused, now or earlier, and cannot be removed."""
    failed: int = 0
    """Files that stay, since taking them over fails for a reason without a name."""


@dataclass
class WatchedFolder:
    """One folder; `turn` looks through it once."""

    folder: Path
    settings: Settings
    database: Database
    _seen: dict[Path, tuple[FileStamp, float]] = field(default_factory=dict)
    """Each file that lies there, and since when it has not changed."""
    _stays: dict[Path, FileStamp] = field(default_factory=dict)
    """Taken files that could not be deleted, so that they are not taken again each second."""
    _failed: dict[Path, tuple[FileStamp, float]] = field(default_factory=dict)
    """Files that failed for a reason without a name, and when, so that they keep no others."""

    def run_once(self) -> WatchPass:
        """Take over what is complete.

        Raises Resource (DISK_NEARLY_FULL, DISK_FULL, DISK_ERROR, INTAKE_FOLDER_MISSING) and
        Transient as `accept_instance`; then the file stays for the next turn.
        """
        complete = self._complete()
        outcomes = [self._take(path, known) for path, known in complete]
        self._sweep_empty_folders()
        return WatchPass(
            taken_over=outcomes.count(True),
            refused=outcomes.count(False),
            cannot_leave=len(self._stays),
            failed=len(self._failed),
        )

    def _complete(self) -> list[tuple[Path, FileStamp]]:
        """Files that have not changed for long enough, those under `stat` first."""
        now = time.monotonic()
        seen: dict[Path, tuple[FileStamp, float]] = {}
        for path in self._files():
            with suppress(FileNotFoundError):  # its writer renamed it meanwhile
                fingerprint = _stamp(path)
                before, since = self._seen.get(path, (None, now))
                seen[path] = (fingerprint, since if before == fingerprint else now)
        self._seen = seen
        self._stays = {path: known for path, known in self._stays.items() if path in seen}
        self._failed = {path: it for path, it in self._failed.items() if path in seen}
        settled = [
            (path, fingerprint)
            for path, (fingerprint, since) in seen.items()
            if now - since >= self.settings.watch_settle_s
            and self._stays.get(path) != fingerprint
            and not self._has_just_failed(path, fingerprint, now)
        ]
        return sorted(settled, key=lambda item: (not self._is_stat(item[0]), item[0]))

    def _files(self) -> Iterator[Path]:
        """Raises Resource WATCH_FOLDER_AWAY."""

        def away(error: OSError) -> None:
            raise Resource(
                "WATCH_FOLDER_AWAY",
                f"The watched folder or a folder in it cannot be listed ({error.strerror}). Check "
                "that it is mounted and that this user may read it (PNEUMO_WATCH_FOLDER).",
            ) from None

        for parent, folders, names in os.walk(self.folder, onerror=away):
            inner = Path(parent)
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".") and inner / name != self.folder / REFUSED
            ]
            for name in names:
                path = inner / name
                if not (name.startswith(".") or name.endswith(UNFINISHED) or path.is_symlink()):
                    yield path

    def _has_just_failed(self, path: Path, known: FileStamp, now: float) -> bool:
        before, at = self._failed.get(path, (None, 0.0))
        return before == known and now - at < RETRY_FAILED_S

    def _take(self, path: Path, known: FileStamp) -> bool | None:
        """Whether the file was taken over; False: it was refused, None: it stays."""
        try:
            self._accept(path)
        except Rejected as error:
            self._failed.pop(path, None)
            self._put_aside(path, error)
            return False
        except (Resource, Transient):
            raise
        except Exception as error:  # one file, which must not keep all others
            if is_transient(error):
                raise
            log_traceback(error, log, code=FILE_FAILED)
            self._failed[path] = (known, time.monotonic())
            return None
        self._failed.pop(path, None)
        try:
            if _stamp(path) == known:  # else it was written again: another look
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            self._stays[path] = known
        return True

    def _accept(self, path: Path) -> None:
        """A copy to the intake folder, the header of that very copy, then the row."""
        refuse_when_nearly_full(self.settings)
        storage = intake_storage(self.settings, self.database)
        try:
            read_header(path)  # before anything large that is no image is copied
        except OSError as error:
            raise unreadable(error) from None
        stored = storage.keep_file(path)
        try:
            header = read_header(storage.path_of(stored.name))
        except Rejected:
            storage.discard(stored.name)
            raise
        if is_own_result(header, self.database):
            return
        acceptance = accept_instance(
            stored,
            header,
            priority=Priority.STAT if self._is_stat(path) else Priority.ROUTINE,
            site_ae_title=None,
            source=Source.FOLDER,
            timeout_s=DATABASE_TIMEOUT_S,
            database=self.database,
            settings=self.settings,
        )
        receipt = acceptance.instances[0].outcome
        log.info("file_taken_over", study_key=acceptance.study_key, receipt=receipt.value)

    def _put_aside(self, path: Path, error: Rejected) -> None:
        """Under the same name in `refused`, the reason beside it; moving it back tries it again."""
        log.warning("file_refused", code=error.code)
        target = self.folder / REFUSED / path.relative_to(self.folder)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            reason = {"code": error.code, "sentence": error.sentence}
            target.with_name(f"{target.name}.reason.json").write_text(json.dumps(reason, indent=1))
        except FileNotFoundError:
            pass
        except OSError:
            with suppress(FileNotFoundError):
                self._stays[path] = _stamp(path)

    def _is_stat(self, path: Path) -> bool:
        return path.relative_to(self.folder).parts[0] == STAT

    def _sweep_empty_folders(self) -> None:
        oldest = time.time() - EMPTY_FOLDER_S
        ours = {self.folder, self.folder / STAT, self.folder / REFUSED}
        for parent, _, _ in os.walk(self.folder, topdown=False):
            inner = Path(parent)
            if inner in ours or (self.folder / REFUSED) in inner.parents:
                continue
            with suppress(OSError):  # not empty, or not ours to remove
                if inner.stat().st_mtime < oldest:
                    inner.rmdir()


def count_refused_files(folder: Path) -> int:
    """How many files lie in `refused` and wait for a person."""
    found = (folder / REFUSED).rglob("*")
    return sum(1 for path in found if path.is_file() and not path.name.endswith(".reason.json"))


def _stamp(path: Path) -> FileStamp:
    found = path.stat(follow_symlinks=False)
    return found.st_ino, found.st_size, found.st_mtime_ns
