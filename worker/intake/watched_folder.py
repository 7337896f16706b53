"""A watched folder: DICOM files that somebody puts there are accepted and removed from it.

The folder may be a share of another machine, which sends no notice of changes, so it is scanned again
and again. A file that did not change between two scans `watch_settle_s` apart is complete. Accepted
files are deleted, after the rows are committed; what cannot be accepted is moved to `refused` inside the
folder with its reason beside it; a file that fails for an unforeseen reason is tried a few times and
then refused, while the others are accepted. Files under `stat` go first. Names that begin with a dot or
end with .part or .tmp are for writers who rename when they have finished.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from db.engine.session import Database, is_transient
from db.vocabulary.enums import Priority, Source
from worker.errors import Rejected, Resource, Transient
from worker.intake.accept import DATABASE_TIMEOUT_S, accept_instance
from worker.intake.files import keep_copy, limits_of
from worker.intake.own_results import is_own_result
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.disk import refuse_when_nearly_full
from worker.storage.storage_factory import intake_storage
from worker.storage.untrusted_files import FileStamp, UntrustedPath, errno_name, too_deep

log = get_logger(__name__)

OUT_OF_MEMORY = "OUT_OF_MEMORY"
STAT, REFUSED = "stat", "refused"
UNFINISHED = (".part", ".tmp")
FILE_FAILED = "WATCH_FILE_FAILED"
EMPTY_FOLDER_S = 3600.0
"""An empty inner folder is removed after this time; before, somebody may be about to write to it."""
RETRY_FAILED_S = 60.0
"""A file that failed for an unforeseen reason is tried again at this interval."""
FAILURES_UNTIL_REFUSED = 10
"""So many failures, then the file is refused: no file is tried without end."""


@dataclass(frozen=True, kw_only=True)
class WatchPass:
    """The result of one scan of the folder."""

    taken_over: int = 0
    refused: int = 0
    cannot_leave: int = 0
    """Files that were accepted or refused, now or earlier, and cannot be removed."""
    failed: int = 0
    """Files that remain, since accepting them fails for an unforeseen reason."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A file that failed for an unforeseen reason."""

    stamp: FileStamp
    at: float
    """By the monotonic clock."""
    times: int


@dataclass
class WatchedFolder:
    """One folder; `run_once` scans it once."""

    folder: Path
    settings: Settings
    database: Database
    _seen: dict[UntrustedPath, tuple[FileStamp, float]] = field(default_factory=dict)
    """Each file in it, and since when it has not changed."""
    _stays: dict[UntrustedPath, FileStamp] = field(default_factory=dict)
    """Accepted files that could not be deleted, so that they are not accepted again each second."""
    _failed: dict[UntrustedPath, _Failure] = field(default_factory=dict)
    """Files that failed for an unforeseen reason, so that they do not hold up others."""

    @property
    def _top(self) -> UntrustedPath:
        return UntrustedPath(top=self.folder)

    def run_once(self) -> WatchPass:
        """Accept the files that are complete.

        Raises Resource (DISK_NEARLY_FULL, DISK_FULL, DISK_ERROR, INTAKE_FOLDER_MISSING) and
        Transient as `accept_instance`; then the file remains for the next scan.
        """
        complete = self._complete()
        outcomes = [self._take(path, stamp) for path, stamp in complete]
        self._sweep_empty_folders()
        return WatchPass(
            taken_over=outcomes.count(True),
            refused=outcomes.count(False),
            cannot_leave=len(self._stays),
            failed=len(self._failed),
        )

    def _complete(self) -> list[tuple[UntrustedPath, FileStamp]]:
        """Return the files that have not changed for long enough, those under `stat` first."""
        now = time.monotonic()
        seen: dict[UntrustedPath, tuple[FileStamp, float]] = {}
        for path in self._files():
            with suppress(FileNotFoundError):  # its writer renamed it meanwhile
                stamp = FileStamp.of(path.status())
                before, since = self._seen.get(path, (None, now))
                seen[path] = (stamp, since if before == stamp else now)
        self._seen = seen
        self._stays = {path: stamp for path, stamp in self._stays.items() if path in seen}
        self._failed = {path: failure for path, failure in self._failed.items() if path in seen}
        settled = [
            (path, stamp)
            for path, (stamp, since) in seen.items()
            if now - since >= self.settings.watch_settle_s
            and self._stays.get(path) != stamp
            and not self._has_just_failed(path, stamp, now)
        ]
        return sorted(settled, key=lambda item: (not _is_stat(item[0]), item[0].names))

    def _files(self) -> list[UntrustedPath]:
        """Return every file whose writer has finished it. Raises Resource WATCH_FOLDER_AWAY."""
        depth = self.settings.max_folder_depth
        too_deeply_nested: list[UntrustedPath] = []

        def is_skipped(folder: UntrustedPath) -> bool:
            if len(folder.names) > depth:
                too_deeply_nested.append(folder)
            return len(folder.names) > depth or _is_skipped(folder)

        try:
            found = self._top.files(limits_of(self.settings), skip_folder=is_skipped)
        except OSError as error:
            raise Resource(
                "WATCH_FOLDER_AWAY",
                f"The watched folder or a folder in it cannot be listed ({errno_name(error)}). Check "
                "that it is mounted and that this user may read it (PNEUMO_WATCH_FOLDER).",
            ) from None
        for folder in too_deeply_nested:
            self._refuse(folder, too_deep(depth))
        return [path for path in found if not _is_unfinished(path.names[-1])]

    def _has_just_failed(self, path: UntrustedPath, stamp: FileStamp, now: float) -> bool:
        failure = self._failed.get(path)
        return failure is not None and failure.stamp == stamp and now - failure.at < RETRY_FAILED_S

    def _take(self, path: UntrustedPath, stamp: FileStamp) -> bool | None:
        """Return whether the file was accepted; False: it was refused, None: it remains."""
        try:
            self._accept(path)
        except Rejected as error:
            self._refuse(path, error)
            return False
        except Transient:
            raise
        except Exception as error:  # one file must not hold up the others
            if is_transient(error) or (isinstance(error, Resource) and error.code != OUT_OF_MEMORY):
                raise
            reference = log_traceback(error, log, code=FILE_FAILED)
            return self._note_failure(path, stamp, reference)
        self._failed.pop(path, None)
        try:
            path.remove_if_unchanged(stamp)  # one that was written again is accepted again
        except FileNotFoundError:
            pass
        except OSError:
            self._stays[path] = stamp
        return True

    def _note_failure(self, path: UntrustedPath, stamp: FileStamp, reference: str) -> bool | None:
        """Try the file again later, or refuse it when it has failed too often."""
        before = self._failed.get(path)
        times = before.times + 1 if before and before.stamp == stamp else 1
        if times < FAILURES_UNTIL_REFUSED:
            self._failed[path] = _Failure(stamp=stamp, at=time.monotonic(), times=times)
            return None
        sentence = (
            f"Accepting the file failed {times} times, for a reason that nobody foresaw. Report the "
            f"traceback {reference} in the log; move the file back to try it again."
        )
        self._refuse(path, Rejected(FILE_FAILED, sentence))
        return False

    def _accept(self, path: UntrustedPath) -> None:
        """Copy the file into the intake folder, read the header of that very copy, commit the row."""
        refuse_when_nearly_full(self.settings)
        storage = intake_storage(self.settings, self.database)
        stored, header = keep_copy(path, storage, max_bytes=self.settings.max_file_bytes)
        if is_own_result(header, self.database):
            return
        acceptance = accept_instance(
            stored,
            header,
            priority=Priority.STAT if _is_stat(path) else Priority.ROUTINE,
            site_ae_title=None,
            source=Source.FOLDER,
            timeout_s=DATABASE_TIMEOUT_S,
            database=self.database,
            settings=self.settings,
        )
        receipt = acceptance.instances[0].outcome
        log.info("file_taken_over", study_key=acceptance.study_key, receipt=receipt.value)

    def _refuse(self, path: UntrustedPath, error: Rejected) -> None:
        """Move the file to the same name in `refused`, with the reason beside it.

        Moving it back tries it again.
        """
        log.warning("file_refused", code=error.code)
        self._failed.pop(path, None)
        *folders, name = path.names
        aside = UntrustedPath(top=self.folder, names=(REFUSED, *folders))
        try:
            aside.make_folder()
            path.move_to(aside / name)
            reason = {"code": error.code, "sentence": error.sentence}
            (aside / f"{name}.reason.json").write_text(json.dumps(reason, indent=1))
        except FileNotFoundError:
            pass
        except OSError:
            with suppress(OSError):
                self._stays[path] = FileStamp.of(path.status())

    def _sweep_empty_folders(self) -> None:
        oldest = time.time() - EMPTY_FOLDER_S
        permanent = {self.folder, self.folder / STAT, self.folder / REFUSED}
        for parent, _, _ in os.walk(self.folder, topdown=False):
            inner = Path(parent)
            if inner in permanent or (self.folder / REFUSED) in inner.parents:
                continue
            with suppress(OSError):  # not empty, or this user may not remove it
                if inner.stat().st_mtime < oldest:
                    inner.rmdir()


def count_refused_files(folder: Path) -> int:
    """Return how many files in `refused` wait for a person."""
    found = (folder / REFUSED).rglob("*")
    return sum(
        1
        for path in found
        if (path.is_symlink() or not path.is_dir()) and not path.name.endswith(".reason.json")
    )


def _is_stat(path: UntrustedPath) -> bool:
    return path.names[0] == STAT


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith(UNFINISHED)


def _is_skipped(folder: UntrustedPath) -> bool:
    return folder.names[-1].startswith(".") or folder.names == (REFUSED,)
