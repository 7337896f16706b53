"""Compare the rows of results with what the audit trail recorded of them, in both directions.

The trail is what a hash chain protects; the rows are what people read. A row that says something else
than its record, a row without a record, and a record without its row are each reported. A study that
is on its way has no result yet, so that only the absence of one is verified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from db.ledger.recorded_study import RecordedDelivery, RecordedStudy
from db.ledger.row_digests import (
    as_text,
    images_digest,
    prediction_digest,
    refusal_digest,
    study_digest,
)
from db.ledger.stored_studies import StoredStudy, read_studies, study_key_batches
from db.values.operations import AuditDifference
from db.vocabulary.enums import AuditEvent, DeliveryState, InstanceState, StudyState, Verdict

ABSENT, PRESENT = "absent", "present"
DECIDED = {StudyState.DONE, StudyState.PARKED}
RECEIVED = {DeliveryState.SENT, DeliveryState.AWAITING_COMMITMENT, DeliveryState.COMMITTED}
"""The destination confirmed receipt."""
SCORES = ("attempt", "logit", "probability", "threshold", "verdict", "distance", "device")
UNREADABLE = "unreadable"


class ResultsCheck:
    """One check of all results; `differences` yields, and the counts grow meanwhile."""

    def __init__(self, session: Session, progress: Callable[[int], None] = lambda _: None) -> None:
        self._session = session
        self._progress = progress
        self.studies = 0
        self.before_digests = 0
        """Records that an earlier version wrote without a digest of the row."""

    def differences(self) -> Iterator[AuditDifference]:
        """Yield every difference, by ascending study key; memory holds one batch of studies."""
        for keys in study_key_batches(self._session):
            yield from self._compare_batch(keys)
            self.studies += len(keys)
            self._progress(len(keys))

    def _compare_batch(self, keys: Sequence[str]) -> Iterator[AuditDifference]:
        """Compare these studies; one with a row that cannot even be read does not hide the others."""
        try:
            stored = read_studies(self._session, keys)
        except (ValueError, TypeError, LookupError):
            if len(keys) > 1:
                for key in keys:
                    yield from self._compare_batch([key])
                return
            yield AuditDifference(
                study_key=keys[0], what="rows", field="values", recorded=None, found=UNREADABLE
            )
            return
        for key, rows in stored.items():
            yield from self._compare_study(key, rows)

    def _compare_study(self, key: str, rows: StoredStudy) -> Iterator[AuditDifference]:
        recorded = RecordedStudy()
        try:
            for record in rows.records:
                recorded.replay(record.event, record.detail)
        except (ValueError, TypeError, LookupError):
            yield AuditDifference(
                study_key=key, what="records", field="detail", recorded=UNREADABLE, found=None
            )
            return
        self.before_digests += recorded.before_digests
        for what, field, expected, found in _compare(recorded, rows):
            yield AuditDifference(
                study_key=key, what=what, field=field, recorded=expected, found=found
            )


Found = Iterator[tuple[str, str, Any, Any]]
"""What, field, recorded, found."""


def _compare(recorded: RecordedStudy, rows: StoredStudy) -> Found:
    if rows.study is None:
        yield "study", "row", PRESENT, ABSENT
        return
    if not recorded.has_records and rows.study.state != StudyState.RECEIVING:
        yield "study", "row", ABSENT, PRESENT
    yield from _compare_study_row(recorded, rows.study)
    yield from _compare_images(recorded, rows)
    yield from _compare_predictions(recorded, rows)
    yield from _compare_deliveries(recorded, rows)
    if recorded.manifest_instances != rows.manifest_instances:
        yield "manifest", "instances", recorded.manifest_instances, rows.manifest_instances
    if recorded.erased and rows.has_identity:
        yield "identity", "row", "erased", PRESENT


def _compare_study_row(recorded: RecordedStudy, study: Any) -> Found:
    found = {name: getattr(study, name) for name in ("verdict", "probability", "threshold")}
    found["model"] = study.model or study.model_version_id
    if recorded.decision is None:
        expected: Mapping[str, Any] = dict.fromkeys(found)
        if study.state in DECIDED:
            yield "study", "state", "unfinished", study.state
    else:
        event, detail = recorded.decision
        is_finished = event is AuditEvent.STUDY_FINISHED
        state = StudyState.DONE if is_finished else StudyState.PARKED
        if study.state != state:
            yield "study", "state", state.value, study.state
        if is_finished:
            expected = detail
            found |= {"revision": study.revision, "finished_at": as_text(study.finished_at)}
        else:
            expected = {"verdict": Verdict.FAILED.value, "code": detail["code"]}
            found["code"] = study.error_code
            expected |= dict.fromkeys(("probability", "threshold", "model"))
        if "row_sha256" in detail:
            yield from _differing("study", {"row_sha256": detail["row_sha256"]}, _study_row(study))
    yield from _differing("study", expected, found)


def _study_row(study: Any) -> dict[str, str]:
    return {"row_sha256": _readable(lambda: study_digest(study))}


def _compare_images(recorded: RecordedStudy, rows: StoredStudy) -> Found:
    refused: set[str] = set()
    for image in rows.images:
        if image.state != InstanceState.REFUSED:
            continue
        refused.add(image.file_sha256)
        found = {
            "code": image.refusal_code,
            "step": image.refusal_step,
            "tag": image.refusal_tag,
            "row_sha256": _refusal_digest(image),
        }
        refusals = recorded.refusals.get(image.file_sha256, [])
        if not refusals and recorded.files_are_known:
            yield _refusal(image.file_sha256), "row", ABSENT, PRESENT
        elif refusals and not any(_agrees(detail, found) for detail in refusals):
            yield from _differing(_refusal(image.file_sha256), refusals[-1], found)
    if recorded.files_are_known:
        here = {image.file_sha256 for image in rows.images}
        for file_sha256 in sorted(recorded.refusals.keys() - here):
            yield _refusal(file_sha256), "row", PRESENT, ABSENT
    is_finished = recorded.decision and recorded.decision[0] is AuditEvent.STUDY_FINISHED
    if is_finished and recorded.images_sha256 is not None:
        key = rows.study.study_key
        found_digest = _readable(lambda: images_digest(key, rows.images))
        expected = {"images_sha256": recorded.images_sha256}
        yield from _differing("images", expected, {"images_sha256": found_digest})


def _compare_predictions(recorded: RecordedStudy, rows: StoredStudy) -> Found:
    expected = {key: list(details) for key, details in recorded.predictions.items()}
    for row in rows.predictions:
        key = (row.file_sha256, row.frame, row.model, row.preprocessing)
        what = f"prediction of file {cut(row.file_sha256)} frame {row.frame} by {row.model}"
        if not recorded.files_are_known:
            key = next((other for other in expected if other[1:] == key[1:]), key)
        details = expected.get(key)
        if not details:
            yield what, "row", ABSENT, PRESENT
            continue
        detail = details.pop()
        if not details:
            del expected[key]
        if row.run_study_id != row.study_id:
            yield what, "attempt", "of this study", "of another study"
        yield from _differing(what, detail, _found_prediction(row, detail))
    for file_sha256, frame, model, _ in sorted(expected, key=str):
        what = f"prediction of file {cut(file_sha256)} frame {frame} by {model}"
        yield what, "row", PRESENT, ABSENT


def _found_prediction(row: Any, detail: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in SCORES if name in detail}
    if "row_sha256" in detail:
        found["row_sha256"] = _readable(
            lambda: prediction_digest(
                json.loads(row.normalisation), json.loads(row.warnings), row.recorded_at
            )
        )
    return found


def _compare_deliveries(recorded: RecordedStudy, rows: StoredStudy) -> Found:
    seen = set()
    for row in rows.deliveries:
        key = (row.destination, row.revision, row.model)
        seen.add(key)
        what = f"delivery of revision {row.revision} by {row.model} to {row.destination}"
        result = recorded.results.get((row.revision, row.model))
        if row.study_key != row.own_study_key:
            yield what, "study_key", row.own_study_key, row.study_key
        if result is None:
            yield what, "row", ABSENT, PRESENT
            continue
        found = {"verdict": row.verdict, "finished_at": as_text(row.finished_at)}
        yield from _differing(what, result, found)
        delivery = recorded.deliveries.get(key, RecordedDelivery())
        yield from _compare_delivery(what, delivery, row, rows.objects[row.id])
    for destination, revision, model in sorted(recorded.deliveries.keys() - seen, key=str):
        what = f"delivery of revision {revision} by {model} to {destination}"
        yield what, "row", PRESENT, ABSENT


def _compare_delivery(
    what: str, delivery: RecordedDelivery, row: Any, objects: Sequence[Any]
) -> Found:
    if delivery.committed != (row.state == DeliveryState.COMMITTED):
        yield what, "state", "committed" if delivery.committed else "not committed", row.state
    elif delivery.cancelled != (row.state == DeliveryState.FORGONE):
        yield what, "state", "cancelled" if delivery.cancelled else "not cancelled", row.state
    elif row.state == DeliveryState.PARKED and row.error_code not in delivery.parked_codes:
        codes = ", ".join(sorted(map(str, delivery.parked_codes))) or "not parked"
        yield what, "code", codes, row.error_code
    elif row.state in RECEIVED and delivery.sent is None:
        yield what, "state", "not sent", row.state
    if delivery.sent is None:
        return
    if row.sent_at is None:
        yield what, "sent_at", PRESENT, ABSENT
    if row.state in RECEIVED:
        last = max((item.made_by_attempt for item in objects), default=0)
        digests = [item.sha256 for item in objects if item.made_by_attempt == last]
        found = {"attempt": row.attempts, "warning": row.warning}
        yield from _differing(what, delivery.sent, found)
        if sorted(digests) != sorted(delivery.sent.get("objects", digests)):
            yield what, "objects", _cut_all(delivery.sent["objects"]), _cut_all(digests)


def _differing(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Found:
    """Yield the fields that the record holds with another value."""
    for name, value in found.items():
        if name in expected and expected[name] != value:
            yield what, name, expected[name], value


def _agrees(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return next(_differing("", expected, found), None) is None


def _readable(digest: Callable[[], str]) -> str:
    """Return a row's digest, or that the row holds what cannot be one of its values."""
    try:
        return digest()
    except (ValueError, TypeError, RecursionError):
        return UNREADABLE


def _refusal_digest(image: Any) -> str:
    words = (image.refusal_found, image.refusal_expected, image.refusal_sentence)
    return _readable(lambda: refusal_digest(*words))


def _refusal(file_sha256: str) -> str:
    return f"refusal of file {cut(file_sha256)}"


def cut(digest: Any) -> str:
    """Return the beginning of a digest, which is enough to find its row."""
    return str(digest)[:12]


def _cut_all(digests: Sequence[Any]) -> str:
    return ", ".join(sorted(map(cut, digests))) or "none"
