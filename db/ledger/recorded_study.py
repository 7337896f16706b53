"""What the audit trail says about one study: its records, replayed in their order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from db.vocabulary.enums import AuditEvent

Detail = Mapping[str, Any]
FrameKey = tuple[str, Any, Any, Any]
"""Digest of the file, frame, model version, preprocessing version: identifies a prediction."""
ResultKey = tuple[Any, Any]
"""Revision and model version: identifies a result of the study."""


@dataclass
class RecordedDelivery:
    """What is recorded of the delivery of one result to one destination."""

    sent: Detail | None = None
    """Detail of the last sending that the destination accepted."""
    enqueued: bool = False
    """A record says that the delivery was enqueued."""
    committed: bool = False
    cancelled: bool = False
    parked_codes: set[Any] = field(default_factory=set)


@dataclass
class RecordedStudy:
    """The state of a study that follows from its audit records."""

    has_records: bool = False
    decision: tuple[AuditEvent, Detail] | None = None
    """STUDY_FINISHED or STUDY_PARKED; None: the study is on its way."""
    results: dict[ResultKey, Detail] = field(default_factory=dict)
    """Every verdict that the study ever had."""
    predictions: dict[FrameKey, list[Detail]] = field(default_factory=lambda: defaultdict(list))
    refusals: dict[str, list[Detail]] = field(default_factory=lambda: defaultdict(list))
    """By the digest of the file."""
    deliveries: dict[tuple[str, Any, Any], RecordedDelivery] = field(
        default_factory=lambda: defaultdict(RecordedDelivery)
    )
    """By destination, revision and model version."""
    images_sha256: str | None = None
    """Digest of all images at the last moment at which it was recorded."""
    files_are_known: bool = True
    """False: an earlier version recorded that files were replaced by others, and not by which."""
    manifest_instances: int | None = None
    erased: bool = False
    before_digests: int = 0
    """Records of results that an earlier version wrote, which hold no digest of the row."""

    def replay(self, event: str, detail_text: str) -> None:
        """Apply the next record of the study."""
        self.has_records = True
        step = _STEPS.get(event)
        if step is not None:
            step(self, json.loads(detail_text))


def _finish(study: RecordedStudy, detail: Detail) -> None:
    study.decision = (AuditEvent.STUDY_FINISHED, detail)
    study.results[detail.get("revision"), detail.get("model")] = detail
    study.images_sha256 = detail.get("images_sha256")
    study.before_digests += "row_sha256" not in detail
    for name in detail.get("destinations", ()):
        _delivery(study, {**detail, "destination": name}).enqueued = True


def _park(study: RecordedStudy, detail: Detail) -> None:
    study.decision = (AuditEvent.STUDY_PARKED, detail)
    study.before_digests += "row_sha256" not in detail


def _reopen(study: RecordedStudy, _detail: Detail) -> None:
    study.decision = None


def _predict(study: RecordedStudy, detail: Detail) -> None:
    key = (detail["file_sha256"], detail["frame"], detail["model"], detail["preprocessing"])
    study.predictions[key].append(detail)
    study.before_digests += "row_sha256" not in detail


def _refuse(study: RecordedStudy, detail: Detail) -> None:
    study.refusals[detail["file_sha256"]].append(detail)
    study.before_digests += "row_sha256" not in detail


def _return_files(study: RecordedStudy, detail: Detail) -> None:
    if "other_file_sha256" not in detail:
        study.files_are_known = False
    if "images_sha256" in detail:
        study.images_sha256 = detail["images_sha256"]
    _rename_files(study, detail)


def _fetch(study: RecordedStudy, detail: Detail) -> None:
    if detail.get("replaced") and "other_file_sha256" not in detail:
        study.files_are_known = False
    _rename_files(study, detail)


def _rename_files(study: RecordedStudy, detail: Detail) -> None:
    """Let records of a file apply to the one that took its place: same content, other file meta."""
    for before, after in detail.get("other_file_sha256", ()):
        for key in [key for key in study.predictions if key[0] == before]:
            study.predictions[after, *key[1:]] += study.predictions.pop(key)
        if before in study.refusals:
            study.refusals[after] += study.refusals.pop(before)


def _delivery(study: RecordedStudy, detail: Detail) -> RecordedDelivery:
    return study.deliveries[detail["destination"], detail["revision"], detail["model"]]


def _enqueue(study: RecordedStudy, detail: Detail) -> None:
    _delivery(study, detail).enqueued = True


def _send(study: RecordedStudy, detail: Detail) -> None:
    _delivery(study, detail).sent = detail


def _commit(study: RecordedStudy, detail: Detail) -> None:
    _delivery(study, detail).committed = True


def _cancel(study: RecordedStudy, detail: Detail) -> None:
    _delivery(study, detail).cancelled = True


def _park_delivery(study: RecordedStudy, detail: Detail) -> None:
    _delivery(study, detail).parked_codes.add(detail.get("code"))


def _announce(study: RecordedStudy, detail: Detail) -> None:
    study.manifest_instances = detail.get("instances")


def _erase(study: RecordedStudy, _detail: Detail) -> None:
    study.erased = True


_STEPS: dict[str, Callable[[RecordedStudy, Detail], None]] = {
    AuditEvent.STUDY_FINISHED: _finish,
    AuditEvent.STUDY_PARKED: _park,
    AuditEvent.STUDY_REVISED: _reopen,
    AuditEvent.STUDY_RETRIED: _reopen,
    AuditEvent.PREDICTION_RECORDED: _predict,
    AuditEvent.INSTANCE_REFUSED: _refuse,
    AuditEvent.FILES_RETURNED: _return_files,
    AuditEvent.STUDY_FETCHED: _fetch,
    AuditEvent.MANIFEST_RECEIVED: _announce,
    AuditEvent.RESULT_OWED: _enqueue,
    AuditEvent.RESULT_SENT: _send,
    AuditEvent.RESULT_COMMITTED: _commit,
    AuditEvent.RESULT_FORGONE: _cancel,
    AuditEvent.RESULT_PARKED: _park_delivery,
    AuditEvent.IDENTITY_ERASED: _erase,
}
"""What each event says about the rows; the others say nothing that a row holds now."""
