"""What archives answer to questions, whichever way they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from worker.errors import PneumoError

Keys = dict[str, str]
"""Matching keys by keyword, universal matching as ""."""


@dataclass(frozen=True, kw_only=True)
class FoundStudy:
    """A study that an archive has; what it does not say is None."""

    study_instance_uid: str = field(repr=False)
    modalities: frozenset[str]
    """(0008,0061) Modalities in Study; empty if it does not say."""
    instances: int | None
    """(0020,1208) Number of Study Related Instances."""


class AnswerCompleteness(Enum):
    """Whether an answer holds all that there is."""

    YES = "yes"
    """Nothing speaks against it."""
    UNSURE = "unsure"
    """It has as many studies as a limit would leave, or pages that cannot be turned."""
    NO = "no"
    """The archive says that there is more, or failed in the middle."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The studies that one question brought, each once."""

    studies: tuple[FoundStudy, ...] = field(repr=False)
    completeness: AnswerCompleteness = AnswerCompleteness.YES
    error: PneumoError | None = None
    """What ended it early; to be raised by who cannot ask for less."""

    @property
    def by_uid(self) -> dict[str, FoundStudy]:
        """Each by its Study Instance UID."""
        return {study.study_instance_uid: study for study in self.studies}


class Archive(Protocol):
    """An archive that can be asked any number of questions, over one connection.

    Both raise Away, Transient SEARCH_FAILED.
    """

    def studies(self, keys: Keys) -> Answer:
        """The studies that match."""

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a series; none if it has no such series."""


def distinct(studies: list[FoundStudy]) -> tuple[FoundStudy, ...]:
    """Each study once, as it was told first."""
    return tuple({study.study_instance_uid: study for study in reversed(studies)}.values())[::-1]
