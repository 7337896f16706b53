"""One result, made: its objects, their bytes, and what is written down of them before they go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from db.delivery_overview import names_of_gone
from db.delivery_records import DeliveryClaim, EarlierResult, SentObject
from db.overview import study_detail
from db.records import ModelRecord
from db.registry import list_models
from db.session import Database
from worker.active_model import find_bundle
from worker.delivery.result_rows import Finding, objects_of
from worker.intake.storage import IntakeStorage
from worker.model.bundle import Bundle, load_bundle
from worker.peers import ResultObject
from worker.results.build import to_bytes
from worker.results.outcome import Predecessor
from worker.results.words import ResultWords
from worker.settings import Settings


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
    kinds: Collection[ResultObject],
    site: Settings,
    database: Database,
    words: ResultWords,
    on_picture: Callable[[], None],
) -> list[MadeObject]:
    """The objects of a claimed delivery, of these kinds: the report first, then the captures.

    Each try makes them anew from rows and files, and they come out the same: nothing personal lies
    about while a destination is away. Raises Rejected RESULT_FILES_GONE, MODEL_BUNDLE_MISSING.
    """
    with database.reading() as session:
        detail = study_detail(session, claim.study_key)
        gone = names_of_gone(session, claim.study_key)
        (model,) = (m for m in list_models(session) if m.name == claim.model_name)
    assert detail is not None  # a delivery's row refers to its study's
    finding = Finding(
        revision=claim.revision,
        model_name=claim.model_name,
        verdict=claim.verdict,
        finished_at=claim.finished_at,
        supersedes=_predecessor(claim.predecessor),
    )
    storage = IntakeStorage(site.intake_dir)
    bundle = _bundle(model, site)
    return [
        _made(dataset)
        for dataset in objects_of(
            detail, finding, bundle, storage, words, on_picture, kinds=kinds, gone=gone
        )
    ]


@lru_cache(maxsize=2)
def _bundle(model: ModelRecord, site: Settings) -> Bundle:
    """On the CPU, for the captures' Grad-CAM; the model of today and that of yesterday stay."""
    return load_bundle(find_bundle(model, site))


def _made(dataset: Dataset) -> MadeObject:
    content = to_bytes(dataset)
    sent = SentObject(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return MadeObject(dataset=dataset, content=content, sent=sent)


def _predecessor(earlier: EarlierResult | None) -> Predecessor | None:
    if earlier is None:
        return None
    reports = (o for o in earlier.objects if o.sop_class_uid == Comprehensive3DSRStorage)
    report = next(reports, None)
    return Predecessor(
        sop_instance_uid=report.sop_instance_uid if report else None,
        series_instance_uid=report.series_instance_uid if report else None,
        model=earlier.model_name,
        revision=earlier.revision,
        finished_at=earlier.finished_at,
    )
