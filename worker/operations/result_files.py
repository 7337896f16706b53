"""`pneumo results STUDY`: the objects that go to the PACS, as files to look at or to send by hand."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from db.details import InstanceDetail, PredictionDetail, StudyDetail
from db.enums import Verdict
from db.overview import study_detail
from db.records import ModelRecord
from db.registry import list_models
from db.session import Database
from worker.active_model import find_bundle
from worker.errors import Rejected, Resource
from worker.imaging.dicom_files import open_dataset
from worker.imaging.reading import read_dataset
from worker.intake.storage import IntakeStorage
from worker.model.bundle import Bundle, load_bundle
from worker.operations.screens import RESEARCH_ONLY, moment, one_study, wide_console
from worker.results.build import build_results, to_bytes
from worker.results.outcome import (
    FrameOutcome,
    InstanceOutcome,
    ModelUsed,
    NotEvaluated,
    ResultOfStudy,
)
from worker.results.outcome import Verdict as ResultVerdict
from worker.results.picture import Picture, picture_of
from worker.results.words import ResultWords
from worker.settings import Settings


def show_results(
    site: Settings, asked: str, output: Path | None = None, console: Console | None = None
) -> int:
    """Write a finished study's report and captures into a folder, and say what they are.

    Raises Rejected STUDY_UNKNOWN, NO_RESULT_YET, RESULT_FILES_GONE, MODEL_BUNDLE_MISSING, and what
    ResultWords says of the settings; Resource RESULTS_NOT_WRITTEN.
    """
    console = console or wide_console()
    words = ResultWords.of(site)
    database = Database(site.database_url)
    try:
        detail = _finished(database, one_study(database, asked))
        bundle = load_bundle(find_bundle(_model_of(database, detail), site))
    finally:
        database.dispose()
    folder = output or Path(f"results-{detail.summary.study_key[:12]}")
    objects = _objects(detail, bundle, IntakeStorage(site.intake_dir), words)
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


def _objects(
    detail: StudyDetail, bundle: Bundle, storage: IntakeStorage, words: ResultWords
) -> list[Dataset]:
    """The report, then the captures."""
    paths: dict[str, Path] = {}
    outcomes = []
    counting = [i for i in detail.instances if i.replaced_in_revision is None]
    for instance in counting:
        path = storage.path_of(instance.file_name)
        outcome = _outcome_of(instance, path, str(detail.summary.model_name))
        paths[outcome.uid] = path
        outcomes.append(outcome)

    def picture(item: InstanceOutcome, frame_number: int) -> Picture:
        dataset = read_dataset(paths[item.uid])
        return picture_of(dataset, frame_number, bundle.model, bundle.manifest.preprocessing)

    summary = detail.summary
    assert summary.verdict is not None  # _finished saw to both
    assert summary.finished_at is not None
    result = ResultOfStudy(
        study_key=summary.study_key,
        revision=summary.revision,
        model=ModelUsed.of(bundle.manifest),
        verdict=ResultVerdict(summary.verdict.value),
        finished_at=summary.finished_at,
        instances=tuple(outcomes),
    )
    return build_results(result, words, picture)


def _outcome_of(instance: InstanceDetail, path: Path, model_name: str) -> InstanceOutcome:
    """One instance's rows, and its header from the file."""
    try:
        header = open_dataset(path, stop_before_pixels=True)
    except OSError:
        raise Rejected("RESULT_FILES_GONE", _gone(instance)) from None
    frames = tuple(_frame(p) for p in instance.predictions if p.model_name == model_name)
    if frames:
        return InstanceOutcome(header=header, frames=frames)
    refusal = instance.refusal
    return InstanceOutcome(
        header=header,
        not_evaluated=NotEvaluated(code=refusal.code, sentence=refusal.sentence)
        if refusal
        else NotEvaluated(
            code="NO_PREDICTION", sentence=f"{model_name} gave no prediction of this image."
        ),
    )


def _gone(instance: InstanceDetail) -> str:
    since = (
        f"left on {moment(instance.file_removed_at)} UTC by the retention rule "
        "(PNEUMO_KEEP_FILES_DAYS)"
        if instance.file_removed_at
        else "is no longer in the intake folder"
    )
    return (
        f"The file of instance {instance.number} {since}, and a result needs its header. Verdict and "
        "probabilities stand: `pneumo show`. For the objects send the study again."
    )


def _frame(prediction: PredictionDetail) -> FrameOutcome:
    return FrameOutcome(
        frame_number=prediction.frame_number,
        probability=prediction.probability,
        verdict=ResultVerdict(prediction.verdict.value),
        predicted_at=prediction.recorded_at,
        warnings=tuple(str(warning["sentence"]) for warning in prediction.warnings),
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
