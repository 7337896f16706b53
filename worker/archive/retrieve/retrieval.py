"""Keep the images of an archive as they come: write the bytes to the intake folder, read the header."""

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
"""Code of an object that the archive has and did not send, and that cannot be a radiograph."""


@dataclass(kw_only=True)
class Retrieval:
    """The retrieval of one study from one archive."""

    peer: Peer
    study_instance_uid: str = field(repr=False)
    storage: IntakeStorage
    deadline: float
    """By the monotonic clock; a claim that is held too long counts as a hanging worker."""
    images: list[tuple[StoredFile, InstanceHeader]] = field(default_factory=list, repr=False)
    refused: list[Rejected] = field(default_factory=list)
    """Why received objects were not kept."""
    received_uids: set[str] = field(default_factory=set, repr=False)
    """SOP Instance UIDs of all objects received, kept or refused, where they are known."""

    def keep(self, chunks: Iterable[bytes | memoryview], *, sent_as: str | None = None) -> bool:
        """Keep one DICOM file and return True, or record why it is refused and return False.

        `sent_as`: Affected SOP Instance UID of the C-STORE that brought the file; its file meta
        information is then ours.

        The file is checked before it has its name: names are digests of contents, so that a file with
        a name may belong to another study too and must not be removed. Raises Resource.
        """
        part = self.storage.begin()
        try:
            if sent_as is not None:
                self.received_uids.add(sent_as)
                part.mark_own_file_head()
            for chunk in chunks:
                part.write(chunk)
            header = read_header(part.path)
            if header.study_instance_uid != self.study_instance_uid:
                raise errors.other_study(self.peer)
            self.images.append((part.keep(), header))
            self.received_uids.add(header.sop_instance_uid)
        except Rejected as refusal:
            log.warning("object_refused", peer=self.peer.name, code=refusal.code)
            self.refused.append(refusal)
            return False
        finally:
            part.discard()
        return True

    def refuse_nothing_kept(self) -> None:
        """Raise the first refusal if no object was kept."""
        if self.refused and not self.images:
            raise self.refused[0]

    def refuse_too_late(self) -> None:
        """Raise Transient RETRIEVE_FAILED after the deadline."""
        if self.seconds_left() <= 0:
            raise errors.failed(self.peer, "it takes too long")

    def refuse_broken_off(self) -> None:
        """Raise Transient RETRIEVE_INCOMPLETE if some images came before the connection broke.

        Then this study itself may break the connection, and must not keep the others waiting forever.
        """
        if self.images:
            raise errors.incomplete(self.peer, len(self.images), None)

    def result(self, expected: int | None, *, not_given: int = 0) -> RetrieveResult:
        """Return what was kept and what is missing. `expected`: how many the archive has, None if unknown."""
        missing = Counter(refusal.code for refusal in self.refused)
        if not_given:
            missing[NOT_GIVEN] = not_given
        return RetrieveResult(images=tuple(self.images), expected=expected, missing=dict(missing))

    def seconds_left(self) -> float:
        """Return the time until the deadline."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class RetrieveResult:
    """The outcome of one retrieval."""

    images: Images = field(repr=False)
    """Kept files, in order of arrival; none if they came through our listener."""
    expected: int | None
    """How many objects the archive has; None if it did not say."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """How many of these are not among the images, by code."""
