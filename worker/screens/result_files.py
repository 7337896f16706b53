"""`pneumo results STUDY`: the objects that go to the PACS, as files to look at or to send by hand."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from db.deliveries.overview import names_of_removed_images
from db.deliveries.predecessors import predecessor_of
from db.engine.session import Database
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
from worker.screens.console import RESEARCH_ONLY, resolve_study_key, wide_console
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage


def show_results(
    settings: Settings, asked: str, output: Path | None = None, console: Console | None = None
) -> int:
    """Write a finished study's report and captures into a folder, and say what they are.

    Raises Rejected STUDY_UNKNOWN, NO_RESULT_YET, RESULT_FILES_GONE, RESULT_PATIENTS_DIFFER,
    MODEL_BUNDLE_MISSING, and what ResultWords says of the settings; Resource RESULTS_NOT_WRITTEN.
    """
    console = console or wide_console()
    words = ResultSettings.of(settings)
    database = Database(settings.database_url)
    try:
        detail = _finished(database, resolve_study_key(database, asked))
        with database.reading() as session:
            gone = names_of_removed_images(session, detail.summary.study_key)
        bundle = load_bundle(find_bundle(_model_of(database, detail), settings))
        finding = _finding(database, detail)
    finally:
        database.dispose()
    folder = output or Path(f"results-{detail.summary.study_key[:12]}")
    storage = IntakeStorage(settings.intake_dir)
    objects = result_objects(detail, finding, bundle, storage, words, removed=gone)
    console.print(_written(objects, folder))
    console.print(RESEARCH_ONLY)
    return 0


def _finished(database: Database, key: str) -> StudyDetail:
    """The study, if it came to a result."""
    with database.reading() as session:
        detail = study_detail(session, key)
    if detail is None or detail.summary.verdict in {None, Verdict.FAILED}:
        state = detail.summary.state.value if detail else "gone"
        raise Rejected(
            "NO_RESULT_YET",
            f"The study is {state} and has no result; a failure is none. `pneumo show` says what it "
            "waits for.",
        )
    return detail


def _model_of(database: Database, detail: StudyDetail) -> ModelRecord:
    """The model version that gave the verdict, which need not be active any more."""
    with database.reading() as session:
        (model,) = (m for m in list_models(session) if m.name == detail.summary.model_name)
    return model


def _finding(database: Database, detail: StudyDetail) -> ReportedResult:
    """The study's last result, with what its deliveries say that it takes the place of.

    These files have the UIDs of the objects that are sent, and so must say the same (PS3.5 9.1).
    """
    summary = detail.summary
    assert summary.verdict is not None  # _finished saw to these
    assert summary.finished_at is not None
    which = summary.study_key, summary.revision, str(summary.model_name)
    with database.reading() as session:
        before = as_predecessor(predecessor_of(session, *which))
        forms = earlier_forms(session, *which, summary.finished_at)
    return ReportedResult(
        revision=summary.revision,
        model_name=str(summary.model_name),
        verdict=summary.verdict,
        finished_at=summary.finished_at,
        supersedes=before,
        earlier_forms=forms,
    )


def _written(objects: list[Dataset], folder: Path) -> Table:
    """The files, numbered in the order of their objects; no name in them is personal."""
    table = Table("file", "what it is", "bytes", title=f"Written to {folder}", title_justify="left")
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
