"""Images that an archive gives, kept as they come: the bytes to the intake folder, then their header."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.archive import errors
from worker.errors import Rejected
from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header
from worker.logging import get_logger
from worker.peers.peers_file import Peer
from worker.storage.intake_folder import IntakeStorage, StoredFile

Images = tuple[tuple[StoredFile, InstanceHeader], ...]
"""Kept files with their headers."""


log = get_logger(__name__)

NOT_GIVEN = "NOT_GIVEN"
"""Code of an object that the archive has, that can be no radiograph, and that it did not send."""


@dataclass(kw_only=True)
class Retrieval:
    """One study on its way from one archive."""

    peer: Peer
    study_instance_uid: str = field(repr=False)
    storage: IntakeStorage
    deadline: float
    """By the monotonic clock: a claim that is held too long counts as a hanging worker."""
    images: list[tuple[StoredFile, InstanceHeader]] = field(default_factory=list, repr=False)
    refused: list[Rejected] = field(default_factory=list)
    """Why objects that came were not kept."""
    came: set[str] = field(default_factory=set, repr=False)
    """SOP Instance UIDs of all that came, kept or refused, where it is known."""

    def keep(self, chunks: Iterable[bytes | memoryview], *, sent_as: str | None = None) -> bool:
        """Keep one DICOM file, or refuse it by its code; the others of its study go on.

        `affected_sop_instance_uid`: SOP Instance UID of the C-STORE that brought it, behind a file head of ours.

        It is judged before it has a name: names stand for contents, so that a file that has one may
        be another study's as well, and is nobody's to take away. Raises Resource.
        """
        part = self.storage.begin()
        try:
            if sent_as is not None:
                self.came.add(sent_as)
                part.mark_own_file_head()
            for chunk in chunks:
                part.write(chunk)
            header = read_header(part.path)
            if header.study_instance_uid != self.study_instance_uid:
                raise errors.other_study(self.peer)
            self.images.append((part.keep(), header))
            self.came.add(header.sop_instance_uid)
        except Rejected as refusal:
            log.warning("object_refused", peer=self.peer.name, code=refusal.code)
            self.refused.append(refusal)
            return False
        finally:
            part.discard()
        return True

    def refuse_nothing_kept(self) -> None:
        """Raise the first refusal if there is nothing else."""
        if self.refused and not self.images:
            raise self.refused[0]

    def refuse_too_late(self) -> None:
        """Raise Transient RETRIEVE_FAILED when the time for the whole study is over."""
        if self.seconds_left() <= 0:
            raise errors.failed(self.peer, "it takes too long")

    def refuse_broken_off(self) -> None:
        """Raise Transient RETRIEVE_INCOMPLETE if some images came before the connection broke.

        Then it may be this study that breaks it, which must not keep the others waiting for good.
        """
        if self.images:
            raise errors.incomplete(self.peer, len(self.images), None)

    def result(self, expected: int | None, *, not_given: int = 0) -> RetrieveResult:
        """What it came to."""
        missing = Counter(refusal.code for refusal in self.refused)
        if not_given:
            missing[NOT_GIVEN] = not_given
        return RetrieveResult(images=tuple(self.images), expected=expected, missing=dict(missing))

    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class RetrieveResult:
    """What one retrieval came to."""

    images: Images = field(repr=False)
    """Kept files, in order of arrival; none if they came through our listener."""
    expected: int | None
    """How many the archive says there are; None if it did not say."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Of these, what is not among the images: how many by each code."""
