"""The rows of results, study by study in batches, as the check against the audit trail reads them.

Words and JSON are read as text: a row that was tampered with may hold what no enum and no parser
accepts, and it is to be reported, not to end the check.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, String, Text, cast, func, select, type_coerce, union
from sqlalchemy.orm import Session

from db.ledger.row_digests import IMAGE_COLUMNS, STUDY_COLUMNS
from db.models import (
    AuditRecord,
    InferenceRun,
    Instance,
    ModelVersion,
    Prediction,
    ResultDelivery,
    ResultObject,
    Study,
    StudyIdentity,
    StudyManifest,
)

BATCH = 200
"""Studies that are in memory at once."""


@dataclass
class StoredStudy:
    """The rows of one study that hold its results."""

    study: Any = None
    """None: there is no row of the study."""
    records: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    deliveries: list[Any] = field(default_factory=list)
    objects: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    """Objects of results by delivery."""
    manifest_instances: int | None = None
    has_identity: bool = False


def count_studies(session: Session) -> int:
    """Return the number of studies that have a row."""
    return session.scalar(select(func.count(Study.id))) or 0


def study_key_batches(session: Session) -> Iterator[list[str]]:
    """Yield the keys of all studies that have a row or a record, in pieces, by ascending key."""
    after = ""
    while True:
        of_rows = _first(select(Study.study_key).where(Study.study_key > after), Study.study_key)
        of_records = _first(
            select(AuditRecord.study_key).where(AuditRecord.study_key > after).distinct(),
            AuditRecord.study_key,
        )
        both = union(select(of_rows.c.study_key), select(of_records.c.study_key)).subquery()
        keys = session.scalars(select(both.c.study_key).order_by(both.c.study_key).limit(BATCH))
        batch = list(keys)
        if not batch:
            return
        yield batch
        after = batch[-1]


def _first(query: Select[Any], key: Any) -> Any:
    return query.order_by(key).limit(BATCH).subquery()


def read_studies(session: Session, keys: Sequence[str]) -> dict[str, StoredStudy]:
    """Return the rows and records of these studies."""
    found = {key: StoredStudy() for key in keys}
    for record in session.execute(_RECORDS.where(AuditRecord.study_key.in_(keys))):
        found[record.study_key].records.append(record)
    for study in session.execute(_STUDIES.where(Study.study_key.in_(keys))):
        found[study.study_key].study = study
    for image in session.execute(_IMAGES.where(Study.study_key.in_(keys))):
        found[image.study_key].images.append(image)
    for prediction in session.execute(_PREDICTIONS.where(Study.study_key.in_(keys))):
        found[prediction.study_key].predictions.append(prediction)
    for delivery in session.execute(_DELIVERIES.where(Study.study_key.in_(keys))):
        found[delivery.own_study_key].deliveries.append(delivery)
    for item in session.execute(_OBJECTS.where(Study.study_key.in_(keys))):
        found[item.study_key].objects[item.delivery_id].append(item)
    for manifest in session.execute(_MANIFESTS.where(Study.study_key.in_(keys))):
        found[manifest.study_key].manifest_instances = manifest.instances
    for identity in session.execute(_IDENTITIES.where(Study.study_key.in_(keys))):
        found[identity.study_key].has_identity = True
    return found


_WORDS = {"priority", "lane", "source", "closed_by", "error_kind", "state", "verdict"}


def _columns(model: Any, names: Sequence[str]) -> list[ColumnElement[Any]]:
    return [
        type_coerce(getattr(model, name), String).label(name)
        if name in _WORDS
        else getattr(model, name)
        for name in names
    ]


_RECORDS = select(AuditRecord.study_key, AuditRecord.event, AuditRecord.detail).order_by(
    AuditRecord.study_key, AuditRecord.sequence
)
_STUDIES = select(
    Study.study_key,
    *_columns(Study, ("state", "verdict", "probability", "threshold")),
    ModelVersion.name.label("model"),
    Study.model_version_id,
    *_columns(Study, STUDY_COLUMNS),
).outerjoin(ModelVersion, ModelVersion.id == Study.model_version_id)
_IMAGES = select(Study.study_key, *_columns(Instance, IMAGE_COLUMNS)).join(
    Study, Study.id == Instance.study_id
)
_PREDICTIONS = (
    select(
        Study.study_key,
        Instance.file_sha256,
        Prediction.frame_number.label("frame"),
        ModelVersion.name.label("model"),
        Prediction.preprocessing_version.label("preprocessing"),
        InferenceRun.attempt,
        InferenceRun.study_id.label("run_study_id"),
        Study.id.label("study_id"),
        *_columns(
            Prediction, ("logit", "probability", "threshold", "verdict", "distance", "device")
        ),
        cast(Prediction.normalisation, Text).label("normalisation"),
        cast(Prediction.warnings, Text).label("warnings"),
        Prediction.recorded_at,
    )
    .join(Instance, Instance.id == Prediction.instance_id)
    .join(Study, Study.id == Instance.study_id)
    .outerjoin(ModelVersion, ModelVersion.id == Prediction.model_version_id)
    .outerjoin(InferenceRun, InferenceRun.id == Prediction.inference_run_id)
)
_DELIVERIES = (
    select(
        Study.study_key.label("own_study_key"),
        ResultDelivery.id,
        ResultDelivery.study_key,
        ResultDelivery.destination,
        ResultDelivery.revision,
        ModelVersion.name.label("model"),
        *_columns(ResultDelivery, ("state", "verdict", "error_code")),
        ResultDelivery.warning,
        ResultDelivery.attempts,
        ResultDelivery.finished_at,
        ResultDelivery.sent_at,
    )
    .join(Study, Study.id == ResultDelivery.study_id)
    .outerjoin(ModelVersion, ModelVersion.id == ResultDelivery.model_version_id)
)
_OBJECTS = (
    select(
        Study.study_key,
        ResultObject.delivery_id,
        ResultObject.made_by_attempt,
        ResultObject.sha256,
    )
    .join(ResultDelivery, ResultDelivery.id == ResultObject.delivery_id)
    .join(Study, Study.id == ResultDelivery.study_id)
)
_MANIFESTS = select(Study.study_key, StudyManifest.instances).join(
    Study, Study.id == StudyManifest.study_id
)
_IDENTITIES = select(Study.study_key).join(StudyIdentity, StudyIdentity.study_id == Study.id)
