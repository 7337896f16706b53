"""Studies that an archive has: ordered, counted, or checked for coverage."""

from __future__ import annotations

from dataclasses import dataclass, field

from db.vocabulary.enums import Priority, RetrieveWay, Source, StudyState, Verdict


@dataclass(frozen=True, kw_only=True)
class StudyOrder:
    """A study that a worker will fetch from an archive."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    way: RetrieveWay
    """How it is fetched."""
    peer: str | None = None
    """Name of the archive in the file of peers ..."""
    base_url: str | None = field(default=None, repr=False)
    """... or the base URL of a DICOMweb server that no file names."""
    priority: Priority = Priority.ROUTINE
    """As requested."""
    source: Source = Source.PULL
    """The way in."""


@dataclass(frozen=True, kw_only=True)
class OrderConfirmation:
    """The answer to an order, true once the transaction is committed."""

    study_key: str
    """32 hex digits, random."""
    is_new: bool
    """False if the study was known before and therefore not ordered again."""
    state: StudyState
    """The study's state now."""


@dataclass(frozen=True, kw_only=True)
class PlacedOrder:
    """The order of a claimed study: where its images are fetched from."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    way: RetrieveWay
    """How they are fetched."""
    peer: str | None
    """Name of the archive in the file of peers ..."""
    base_url: str | None = field(repr=False)
    """... or the base URL of a DICOMweb server that no file names."""
    fetched: bool
    """Whether all images have been fetched once."""


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study that no rule has closed yet."""

    study_key: str
    """32 hex digits."""
    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    site_ae_title: str | None
    """Who sends it."""
    instances: int
    """How many are here."""


@dataclass(frozen=True, kw_only=True)
class ArchivedStudyStatus:
    """The status of a study that an archive has, as coverage counts it."""

    state: StudyState
    """Where it is on its way."""
    verdict: Verdict | None
    """None until it has one."""
    code: str | None
    """Why it failed, or why its first refused image was refused."""
