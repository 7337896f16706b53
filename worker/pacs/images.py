"""Images that an archive gives, kept as they come: the bytes to the intake folder, then their header."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.imaging.header import InstanceHeader
from worker.imaging.reading import read_header
from worker.intake.storage import IntakeStorage, StoredFile
from worker.pacs import troubles
from worker.peers import Peer


@dataclass(kw_only=True)
class Fetching:
    """One study on its way from one archive."""

    peer: Peer
    study_instance_uid: str = field(repr=False)
    storage: IntakeStorage
    deadline: float
    """By the monotonic clock: a claim that is held too long counts as a hanging worker."""
    images: list[tuple[StoredFile, InstanceHeader]] = field(default_factory=list, repr=False)

    def keep(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Keep one DICOM file. Raises Rejected OTHER_STUDY, those of `read_header`, Resource.

        It is judged before it has a name: names stand for contents, so that a file that has one may
        be another study's as well, and is nobody's to take away.
        """
        part = self.storage.begin()
        try:
            for chunk in chunks:
                part.write(chunk)
            header = read_header(part.path)
            if header.study_instance_uid != self.study_instance_uid:
                raise troubles.other_study(self.peer)
            self.images.append((part.keep(), header))
        finally:
            part.discard()

    def refuse_too_late(self) -> None:
        """Raise Transient RETRIEVE_FAILED when the time for the whole study is over."""
        if self.seconds_left() <= 0:
            raise troubles.failed(self.peer, "it takes too long")

    def refuse_broken_off(self) -> None:
        """Raise Transient RETRIEVE_INCOMPLETE if some images came before the connection broke.

        Then it may be this study that breaks it, which must not keep the others waiting for good.
        """
        if self.images:
            raise troubles.incomplete(self.peer, len(self.images), None)

    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What one retrieval came to."""

    images: tuple[tuple[StoredFile, InstanceHeader], ...] = field(repr=False)
    """Kept files, in order of arrival; none if they came through our listener."""
    expected: int | None
    """How many the archive says there are; None if it did not say."""
