"""The rows of a study and the headers of its files, as the result that goes to the PACS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from db.details import InstanceDetail, PredictionDetail, StudyDetail
from db.enums import Verdict
from worker.errors import Rejected
from worker.imaging.dicom_files import open_dataset
from worker.imaging.reading import read_dataset
from worker.intake.storage import IntakeStorage
from worker.model.bundle import Bundle
from worker.results.build import build_results
from worker.results.outcome import (
    FrameOutcome,
    InstanceOutcome,
    ModelUsed,
    NotEvaluated,
    Predecessor,
    ResultOfStudy,
)
from worker.results.outcome import Verdict as ResultVerdict
from worker.results.picture import Picture, picture_of
from worker.results.words import ResultWords


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of a study, by which its objects are told from those of a later one."""

    revision: int
    """Revision of the study that it is about; images of later ones do not belong to it."""
    model_name: str
    """Model version that gave it."""
    verdict: Verdict
    """Of the study."""
    finished_at: datetime
    """When it came about."""
    supersedes: Predecessor | None = None
    """What it takes the place of."""
    earlier_forms: tuple[Predecessor, ...] = ()
    """Its own reports that a destination may hold, in the order in which they were begun."""


def objects_of(
    detail: StudyDetail,
    finding: Finding,
    bundle: Bundle,
    storage: IntakeStorage,
    words: ResultWords,
    on_picture: Callable[[], None] = lambda: None,
) -> list[Dataset]:
    """The structured report, then the captures. `on_picture` is called before each capture.

    Raises Rejected RESULT_FILES_GONE and what `build_results` raises.
    """
    members = [item for item in detail.instances if _belongs(item, finding.revision)]
    outcomes = [_outcome_of(item, storage, finding.model_name) for item in members]
    names = {o.uid: item.file_name for o, item in zip(outcomes, members, strict=True)}

    def picture(item: InstanceOutcome, frame_number: int) -> Picture:
        on_picture()
        dataset = read_dataset(storage.path_of(names[item.uid]))
        return picture_of(dataset, frame_number, bundle.model, bundle.manifest.preprocessing)

    result = ResultOfStudy(
        study_key=detail.summary.study_key,
        revision=finding.revision,
        model=ModelUsed.of(bundle.manifest),
        verdict=ResultVerdict(finding.verdict.value),
        finished_at=finding.finished_at,
        instances=tuple(outcomes),
        supersedes=finding.supersedes,
        earlier_forms=finding.earlier_forms,
    )
    return build_results(result, words, picture)


def _belongs(instance: InstanceDetail, revision: int) -> bool:
    """Whether the image had come with that revision and no other content had taken its place."""
    replaced = instance.replaced_in_revision
    return instance.revision <= revision and (replaced is None or replaced > revision)


def _outcome_of(
    instance: InstanceDetail, storage: IntakeStorage, model_name: str
) -> InstanceOutcome:
    """One instance's rows, and its header from the file."""
    try:
        header = open_dataset(storage.path_of(instance.file_name), stop_before_pixels=True)
    except FileNotFoundError:
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
        f"left on {instance.file_removed_at:%Y-%m-%d %H:%M:%S} UTC by the retention rule "
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
