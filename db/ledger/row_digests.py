"""Digests of rows that audit records hold, so that a change of any column of a result is found.

What a person would read in the trail (verdict, probability, code) is recorded by name. All other columns
of a row are recorded as one digest. The digests of a study and of its images cover UIDs and are over
the study's random key as well, so that a list of digests cannot be searched for a UID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from db.engine.canonical import canonical_json
from db.models import Instance, Study

STUDY_COLUMNS = (
    "study_instance_uid", "revision", "priority", "lane", "source", "site_ae_title",
    "patient_sex", "patient_age_years", "closed_by", "attempts", "crashes", "crashes_alone",
    "retries", "due_at", "published_at", "received_at", "closed_at", "started_at", "finished_at",
    "waiting_seconds", "turnaround_seconds", "error_code", "error_sentence", "error_kind",
    "traceback_reference",
)  # fmt: skip
"""Columns of a finished or parked study that no audit record names."""
IMAGE_COLUMNS = (
    "revision", "sop_instance_uid", "series_instance_uid", "sop_class_uid", "transfer_syntax_uid",
    "transfer_syntax_name", "file_sha256", "content_sha256", "file_name", "file_bytes", "modality",
    "body_part", "view_position", "manufacturer", "rows", "columns", "state", "refusal_code",
    "refusal_tag", "refusal_found", "refusal_expected", "refusal_sentence", "refusal_step",
    "received_at", "replaced_in_revision",
)  # fmt: skip
"""Columns of an image, all but those that say whether its file is still here."""
REAL_COLUMNS = frozenset({"patient_age_years", "waiting_seconds", "turnaround_seconds"})


def prediction_digest(
    normalisation: Mapping[str, Any], warnings: Iterable[Any], recorded_at: datetime
) -> str:
    """Return the digest of what a prediction holds beside its scores."""
    stored = json.loads(json.dumps([normalisation, list(warnings)]))  # as the database returns it
    return _digest([*stored, as_text(recorded_at)])


def refusal_digest(found: str | None, expected: str | None, sentence: str | None) -> str:
    """Return the digest of a refusal's words."""
    return _digest([found, expected, sentence])


def study_digest(study: Study | Any) -> str:
    """Return the digest of a finished or parked study's row."""
    return _digest([study.study_key, *(_value(study, name) for name in STUDY_COLUMNS)])


def images_digest(study_key: str, images: Iterable[Instance | Any]) -> str:
    """Return the digest of all images of a study, in whatever order they come."""
    rows = [[_value(image, name) for name in IMAGE_COLUMNS] for image in images]
    return _digest([study_key, *sorted(rows, key=lambda row: (row[1], row[6]))])


def as_text(moment: datetime | None) -> str | None:
    """Return a point in time as the trail records it: UTC, to the microsecond."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def _value(row: Any, name: str) -> Any:
    value = getattr(row, name)
    if isinstance(value, datetime):
        return as_text(value)
    if isinstance(value, StrEnum):
        return value.value
    # A whole number of years that was just set is an int; read from the database it is a float.
    return float(value) if name in REAL_COLUMNS and value is not None else value


def _digest(value: list[Any]) -> str:
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()
