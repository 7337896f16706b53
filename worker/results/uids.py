"""Reproducible UIDs: an object that is sent again is the same object, not a second result.

UIDs under 2.25 are UUIDs written as numbers (PS3.5 B.2); ours are derived from names (RFC 9562,
version 5) in a namespace of our own. The names contain the study's random key, not its UID: another
installation that reads the same study must not use the same UIDs for its own result.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from worker.results.result_settings import ResultSettings
from worker.results.study_result import ModelUsed, StudyResult

_NAMESPACE = uuid.UUID("6d0e9a4c-58a5-5a7e-9a52-2f3f1c7a7e11")
"""Must never change: every UID that was ever sent follows from it."""

UID_SCHEME_VERSION = "2"
"""Version of our objects' content and rendering, raised with every change to either: one SOP
Instance UID must never identify two contents (PS3.5 9.1)."""

IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}"
"""(0002,0012): the program that writes our objects."""


def uid_of(*parts: str) -> str:
    """Return the UID of a name made of these parts, at most 44 characters."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(parts)).int}"


def device_uid(model: ModelUsed) -> str:
    """Return the UID of the observing device: each model has its own (IHE AIR)."""
    return uid_of("device", model.label, model.bundle_digest)


@dataclass(frozen=True, kw_only=True)
class ResultUids:
    """The UIDs of all objects of one result."""

    study_key: str
    """The study's opaque key."""
    revision: int
    """Revision of the study."""
    model: ModelUsed
    """The network that gave the result."""
    settings: ResultSettings
    """The result settings: with others the objects would have another content."""
    without: tuple[str, ...] = ()
    """SOP Instance UIDs of images whose files were removed, for the same reason."""

    @classmethod
    def of(cls, result: StudyResult, settings: ResultSettings) -> ResultUids:
        """Return the UIDs of a result."""
        return cls(
            study_key=result.study_key,
            revision=result.revision,
            model=result.model,
            settings=settings,
            without=tuple(sorted(item.uid for item in result.instances if not item.is_here)),
        )

    def series(self, kind: str) -> str:
        """Return the Series Instance UID of the objects of this kind: "report" or "capture"."""
        return self._uid(f"{kind} series")

    @property
    def report(self) -> str:
        """SOP Instance UID of the structured report."""
        return self._uid("report")

    def capture(self, source_uid: str = "") -> str:
        """Return the SOP Instance UID of an image's capture; without one, of the study's notice."""
        return self._uid("capture", source_uid)

    def tracking(self, source_uid: str, frame_number: int) -> str:
        """Return what is observed, the same for every model and revision (TID 1501, Tracking UID)."""
        return uid_of("tracking", self.study_key, source_uid, str(frame_number))

    def _uid(self, *parts: str) -> str:
        model, make = self.model, (UID_SCHEME_VERSION, *self.settings.as_strings)
        subject = (self.study_key, str(self.revision), model.label, model.bundle_digest)
        return uid_of(*make, *subject, *parts, *self.without)
