"""Render one result: its objects, their bytes, and what is stored about them before they are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.dataset import Dataset

from db.deliveries.overview import names_of_removed_images
from db.deliveries.predecessors import with_changed_digest
from db.engine.session import Database
from db.ledger.model_registry import list_models
from db.studies.overview import study_detail
from db.values import ModelRecord
from db.values.deliveries import DeliveryClaim, SentObject
from worker.delivery.result_document import (
    ReportedResult,
    as_predecessor,
    earlier_forms,
    result_objects,
)
from worker.delivery.runtime import DeliveryRuntime
from worker.inference.active_model import find_bundle
from worker.logging import get_logger
from worker.model.bundle import Bundle, load_bundle
from worker.peers.peers_file import ResultObjectKind
from worker.results.build import to_bytes
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RenderedObject:
    """One object, ready to be sent."""

    dataset: Dataset
    content: bytes
    """It as a file (PS3.10)."""
    sent: SentObject
    """What is stored about it."""


def render_result(
    claim: DeliveryClaim,
    kinds: Collection[ResultObjectKind],
    runtime: DeliveryRuntime,
    on_picture: Callable[[], None],
) -> list[RenderedObject]:
    """Render the objects of a claimed delivery, of these kinds: the report, then the captures.

    Each attempt renders them anew from rows and files: nothing personal is kept while a destination
    is away. `on_picture` is called before each capture, which may take seconds. Raises Rejected
    RESULT_FILES_GONE, RESULT_PATIENTS_DIFFER, MODEL_BUNDLE_MISSING; Transient FILE_MISSING.
    """
    with runtime.database.reading() as session:
        detail = study_detail(session, claim.study_key)
        removed = names_of_removed_images(session, claim.study_key)
        (model,) = (m for m in list_models(session) if m.name == claim.model_name)
        forms = earlier_forms(
            session, claim.study_key, claim.revision, claim.model_name, claim.finished_at
        )
    assert detail is not None  # a delivery's row refers to its study's
    datasets = result_objects(
        detail,
        ReportedResult(
            revision=claim.revision,
            model_name=claim.model_name,
            verdict=claim.verdict,
            finished_at=claim.finished_at,
            supersedes=as_predecessor(claim.predecessor),
            earlier_forms=forms,
        ),
        _bundle(model, runtime.settings),
        IntakeStorage(runtime.settings.intake_dir),
        runtime.words,
        on_picture,
        kinds=kinds,
        removed=removed,
    )
    objects = [_rendered(dataset) for dataset in datasets]
    _log_changes(objects, runtime.database)
    return objects


@lru_cache(maxsize=2)
def _bundle(model: ModelRecord, settings: Settings) -> Bundle:
    """Load it on the CPU, for the captures' Grad-CAM; keep the present model and the one before."""
    return load_bundle(find_bundle(model, settings))


def _log_changes(objects: Sequence[RenderedObject], database: Database) -> None:
    """Warn of objects that are not what they were: another release of a library draws other pixels."""
    with database.reading() as session:
        differ = with_changed_digest(session, [item.sent for item in objects])
    if differ:
        log.warning("result_object_differs", objects=len(differ), of=len(objects))


def _rendered(dataset: Dataset) -> RenderedObject:
    content = to_bytes(dataset)
    sent = SentObject(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return RenderedObject(dataset=dataset, content=content, sent=sent)
