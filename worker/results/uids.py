"""Names that come out the same each time: a resend is the same object, not a second result.

UIDs under 2.25 are UUIDs written as numbers (PS3.5 B.2); these are made from names (RFC 9562, version 5)
in a namespace of our own. The names start from the study's random key, not from its UID: another
installation that reads the same study must not claim the same UIDs for its own result.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from worker.results.result_settings import ResultSettings
from worker.results.study_result import ModelUsed, StudyResult

_NAMESPACE = uuid.UUID("6d0e9a4c-58a5-5a7e-9a52-2f3f1c7a7e11")
"""Never to be changed: every UID that was ever sent follows from it."""

UID_SCHEME_VERSION = "2"
"""Version of how our objects look. Raised with every change to their content or their rendering,
since one SOP Instance UID must never stand for two contents (PS3.5 9.1)."""

IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}"
"""(0002,0012): the program that writes our objects."""


def uid_of(*parts: str) -> str:
    """The UID of a name made of these parts, at most 44 characters."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(parts)).int}"


def device_uid(model: ModelUsed) -> str:
    """The device that observed: another one as soon as the model is another (IHE AIR)."""
    return uid_of("device", model.label, model.bundle_digest)


@dataclass(frozen=True, kw_only=True)
class ResultUids:
    """The UIDs of all objects of one result."""

    study_key: str
    """The study's opaque key."""
    revision: int
    """Revision of the study."""
    model: ModelUsed
    """Whose result it is."""
    words: ResultSettings
    """The site's words: with others the objects would have another content."""
    without: tuple[str, ...] = ()
    """SOP Instance UIDs of images whose files had left: likewise."""

    @classmethod
    def of(cls, result: StudyResult, words: ResultSettings) -> ResultUids:
        """The UIDs of a result."""
        return cls(
            study_key=result.study_key,
            revision=result.revision,
            model=result.model,
            words=words,
            without=tuple(sorted(item.uid for item in result.instances if not item.is_here)),
        )

    @property
    def report_series(self) -> str:
        """Series Instance UID of the structured report."""
        return self._uid("report series")

    @property
    def report(self) -> str:
        """SOP Instance UID of the structured report."""
        return self._uid("report")

    @property
    def capture_series(self) -> str:
        """Series Instance UID of the captures."""
        return self._uid("capture series")

    def capture(self, source_uid: str = "") -> str:
        """SOP Instance UID of the capture of one image; without one, of the notice of the study."""
        return self._uid("capture", source_uid)

    def tracking(self, source_uid: str, frame_number: int) -> str:
        """What is observed, whichever model and revision observes it (TID 1501, Tracking UID)."""
        return uid_of("tracking", self.study_key, source_uid, str(frame_number))

    def _uid(self, *parts: str) -> str:
        model, make = self.model, (UID_SCHEME_VERSION, *self.words.as_strings)
        whose = (self.study_key, str(self.revision), model.label, model.bundle_digest)
        return uid_of(*make, *whose, *parts, *self.without)
