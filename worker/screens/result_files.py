"""`pneumo results STUDY`: write what is sent to the PACS as files, to look at or to send by hand."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from db.deliveries.overview import names_of_removed_images
from db.deliveries.predecessors import predecessor_of
from db.ledger.model_registry import list_models
from db.studies.overview import study_detail
from db.values import ModelRecord
from db.values.study_details import StudyDetail
from db.vocabulary.enums import Verdict
from worker.delivery.result_document import (
    ReportedResult,
    as_predecessor,
    earlier_forms,
    result_objects,
)
from worker.errors import Rejected, Resource
from worker.inference.active_model import find_bundle
from worker.model.bundle import load_bundle
from worker.results.build import to_bytes
from worker.results.result_settings import ResultSettings
from worker.screens.console import (
    RESEARCH_ONLY,
    reading,
    resolve_study_key,
    titled_table,
    wide_console,
)
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage


def show_results(
    settings: Settings, study: str, output: Path | None = None, console: Console | None = None
) -> int:
    """Write a finished study's report and captures into a folder, and print what they are.

    Raises Rejected STUDY_UNKNOWN, NO_RESULT_YET, RESULT_FILES_GONE, RESULT_PATIENTS_DIFFER,
    MODEL_BUNDLE_MISSING, and what ResultSettings refuses; Resource RESULTS_NOT_WRITTEN.
    """
    console = console or wide_console()
    words = ResultSettings.of(settings)
    with reading(settings) as session:
        detail = _finished(session, resolve_study_key(session, study))
        gone = names_of_removed_images(session, detail.summary.study_key)
        model = _model_of(session, detail)
        finding = _finding(session, detail)
    bundle = load_bundle(find_bundle(model, settings))
    folder = output or Path(f"results-{detail.summary.study_key[:12]}")
    storage = IntakeStorage(settings.intake_dir)
    objects = result_objects(detail, finding, bundle, storage, words, removed=gone)
    console.print(_write(objects, folder))
    console.print(RESEARCH_ONLY)
    return 0


def _finished(session: Session, key: str) -> StudyDetail:
    """Return the study, if it has a result."""
    detail = study_detail(session, key)
    if detail is None or detail.summary.verdict in {None, Verdict.FAILED}:
        state = detail.summary.state.value if detail else "gone"
        raise Rejected(
            "NO_RESULT_YET",
            f"The study is {state} and has no result; a failure is none. `pneumo show` says what it "
            "is waiting for.",
        )
    return detail


def _model_of(session: Session, detail: StudyDetail) -> ModelRecord:
    """Return the model version that gave the verdict, which need not be active any more."""
    (model,) = (m for m in list_models(session) if m.name == detail.summary.model_name)
    return model


def _finding(session: Session, detail: StudyDetail) -> ReportedResult:
    """Return the study's last result, with what it replaces according to its deliveries.

    These files have the UIDs of the objects that are sent, and so must say the same (PS3.5 9.1).
    """
    summary = detail.summary
    assert summary.verdict is not None  # _finished has checked these
    assert summary.finished_at is not None
    which = summary.study_key, summary.revision, str(summary.model_name)
    return ReportedResult(
        revision=summary.revision,
        model_name=str(summary.model_name),
        verdict=summary.verdict,
        finished_at=summary.finished_at,
        supersedes=as_predecessor(predecessor_of(session, *which)),
        earlier_forms=earlier_forms(session, *which, summary.finished_at),
    )


def _write(objects: list[Dataset], folder: Path) -> Table:
    """Write the files, numbered in the order of their objects; no file name is personal."""
    table = titled_table(f"Written to {folder}", "file", "content", "bytes")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, dataset in enumerate(objects):
            is_report = dataset.Modality == "SR"
            path = folder / ("report.dcm" if is_report else f"capture-{number}.dcm")
            content = to_bytes(dataset)
            path.write_bytes(content)
            what = "structured report (TID 1500)" if is_report else "capture for viewers"
            table.add_row(path.name, what, f"{len(content):,}")
    except OSError as error:
        raise Resource(
            "RESULTS_NOT_WRITTEN",
            f"The results could not be written into {folder.name} ({type(error).__name__}). Give "
            "another folder with --output.",
        ) from None
    return table
