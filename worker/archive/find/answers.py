"""Answers of archives to queries, the same for C-FIND and QIDO-RS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from pydicom.dataset import Dataset

from worker.errors import PneumoError
from worker.imaging.identifiers import is_uid

Keys = dict[str, str]
"""Matching keys by keyword, universal matching as ""."""


@dataclass(frozen=True, kw_only=True)
class FoundStudy:
    """A study that an archive has; what the archive does not say is None."""

    study_instance_uid: str = field(repr=False)
    modalities: frozenset[str]
    """(0008,0061) Modalities in Study; empty if the archive does not say."""
    instances: int | None
    """(0020,1208) Number of Study Related Instances."""


class AnswerCompleteness(Enum):
    """Whether an answer holds all studies that match."""

    YES = "yes"
    """Nothing indicates otherwise."""
    UNSURE = "unsure"
    """Its number of studies looks like a limit, or its pages cannot be turned."""
    NO = "no"
    """The archive says that there is more, or failed in the middle."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The studies of one query, each once."""

    studies: tuple[FoundStudy, ...] = field(repr=False)
    completeness: AnswerCompleteness = AnswerCompleteness.YES
    error: PneumoError | None = None
    """What ended the answer early; raised by callers who cannot narrow the query."""

    @property
    def by_uid(self) -> dict[str, FoundStudy]:
        """The studies by Study Instance UID."""
        return {study.study_instance_uid: study for study in self.studies}


class Archive(Protocol):
    """An archive that takes any number of queries over one connection.

    Both methods raise Unavailable, and Transient SEARCH_FAILED.
    """

    def studies(self, keys: Keys) -> Answer:
        """Return the studies that match."""

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """Return the SOP Instance UIDs of a series; none if the archive has no such series."""


def found_studies(answers: Iterable[Dataset | dict[str, Any]]) -> tuple[FoundStudy, ...]:
    """Read answers by keyword: each study once, as it came first; those without a valid UID are skipped."""
    studies: dict[str, FoundStudy] = {}
    for answer in answers:
        uid = str(answer.get("StudyInstanceUID") or "")
        if is_uid(uid) and uid not in studies:
            studies[uid] = FoundStudy(
                study_instance_uid=uid,
                modalities=_words(answer.get("ModalitiesInStudy")),
                instances=_number(answer.get("NumberOfStudyRelatedInstances")),
            )
    return tuple(studies.values())


def _words(value: Any) -> frozenset[str]:
    values = [value] if isinstance(value, str) or value is None else list(value)
    return frozenset(str(word).strip() for word in values if word)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
