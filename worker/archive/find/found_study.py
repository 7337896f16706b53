"""One study out of an archive's answer, whatever else the answer holds."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from worker.archive.find.answers import FoundStudy
from worker.imaging.identifiers import is_uid


def found_study(answer: Dataset | dict[str, Any]) -> FoundStudy | None:
    """A study by its keywords; None if it has no usable UID."""
    uid = str(answer.get("StudyInstanceUID") or "")
    if not is_uid(uid):
        return None
    return FoundStudy(
        study_instance_uid=uid,
        modalities=_words(answer.get("ModalitiesInStudy")),
        instances=_number(answer.get("NumberOfStudyRelatedInstances")),
    )


def _words(value: Any) -> frozenset[str]:
    values = [value] if isinstance(value, str) or value is None else list(value)
    return frozenset(str(word).strip() for word in values if word)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
