"""One result, made: its objects, their bytes, and what is written down of them before they go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
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
from worker.delivery.predecessors import as_predecessor, earlier_forms
from worker.delivery.result_document import Finding, objects_of
from worker.inference.active_model import find_bundle
from worker.logging import get_logger
from worker.model.bundle import Bundle, load_bundle
from worker.peers.peers_file import ResultObjectKind
from worker.results.build import to_bytes
from worker.results.result_settings import ResultSettings
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class MadeObject:
    """One object, ready to go."""

    dataset: Dataset
    content: bytes
    """It as a file (PS3.10)."""
    sent: SentObject
    """What is written down of it."""


def make_result(
    claim: DeliveryClaim,
    kinds: Collection[ResultObjectKind],
    settings: Settings,
    database: Database,
    words: ResultSettings,
    on_picture: Callable[[], None],
) -> list[MadeObject]:
    """The objects of a claimed delivery, of these kinds: the report first, then the captures.

    Each try makes them anew from rows and files: nothing personal lies about while a destination is
    away. Raises Rejected RESULT_FILES_GONE, RESULT_PATIENTS_DIFFER, MODEL_BUNDLE_MISSING.
    """
    with database.reading() as session:
        detail = study_detail(session, claim.study_key)
        gone = names_of_removed_images(session, claim.study_key)
        (model,) = (m for m in list_models(session) if m.name == claim.model_name)
        forms = earlier_forms(
            session, claim.study_key, claim.revision, claim.model_name, claim.finished_at
        )
    assert detail is not None  # a delivery's row refers to its study's
    finding = Finding(
        revision=claim.revision,
        model_name=claim.model_name,
        verdict=claim.verdict,
        finished_at=claim.finished_at,
        supersedes=as_predecessor(claim.predecessor),
        earlier_forms=forms,
    )
    storage = IntakeStorage(settings.intake_dir)
    bundle = _bundle(model, settings)
    made = [
        _made(dataset)
        for dataset in objects_of(
            detail, finding, bundle, storage, words, on_picture, kinds=kinds, gone=gone
        )
    ]
    _compare(made, database)
    return made


@lru_cache(maxsize=2)
def _bundle(model: ModelRecord, settings: Settings) -> Bundle:
    """On the CPU, for the captures' Grad-CAM; the model of today and that of yesterday stay."""
    return load_bundle(find_bundle(model, settings))


def _compare(made: list[MadeObject], database: Database) -> None:
    """Say so if an object is not what it was: another release of a library draws another pixel."""
    with database.reading() as session:
        differ = with_changed_digest(session, [item.sent for item in made])
    if differ:
        log.warning("result_object_differs", objects=len(differ), of=len(made))


def _made(dataset: Dataset) -> MadeObject:
    content = to_bytes(dataset)
    sent = SentObject(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return MadeObject(dataset=dataset, content=content, sent=sent)
