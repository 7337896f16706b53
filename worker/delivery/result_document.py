"""Build the result that is sent from a study's rows and the headers of its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy.orm import Session

from db.deliveries.predecessors import objects_begun
from db.values.deliveries import InstanceNames, PredecessorResult, SentObject
from db.values.study_details import InstanceDetail, PredictionDetail, StudyDetail
from db.vocabulary.enums import Verdict
from worker.errors import Rejected, Transient
from worker.imaging.dicom_files import open_dataset
from worker.imaging.header_values import drop_unreadable
from worker.imaging.reading import read_dataset
from worker.model.bundle import Bundle
from worker.peers.peers_file import ResultObjectKind
from worker.results.build import build_results
from worker.results.picture import Picture, picture_of
from worker.results.result_settings import ResultSettings
from worker.results.study_result import (
    FrameResult,
    InstanceResult,
    ModelUsed,
    NotEvaluated,
    Predecessor,
    ResultVerdict,
    StudyResult,
)
from worker.storage.intake_folder import IntakeStorage


@dataclass(frozen=True, kw_only=True)
class ReportedResult:
    """Which of a study's results is built: a later one has other objects."""

    revision: int
    """Revision of the study that it is about; images of later ones do not belong to it."""
    model_name: str
    """Model version that gave it."""
    verdict: Verdict
    """Of the study."""
    finished_at: datetime
    """When it was stored."""
    supersedes: Predecessor | None = None
    """The earlier result that it replaces."""
    earlier_forms: tuple[Predecessor, ...] = ()
    """Its own reports that a destination may hold, in the order in which they were begun."""


def as_predecessor(earlier: PredecessorResult | None) -> Predecessor | None:
    """Return an earlier result as the new one refers to it: by its report, if one was sent."""
    if earlier is None:
        return None
    report = next(iter(_reports(earlier.objects)), None)
    return _predecessor(report, earlier.model_name, earlier.revision, earlier.finished_at)


def earlier_forms(
    session: Session, study_key: str, revision: int, model_name: str, finished_at: datetime
) -> tuple[Predecessor, ...]:
    """Return the reports of this very result that some destination may hold, in their order."""
    begun = objects_begun(session, study_key, revision, model_name)
    return tuple(
        _predecessor(report, model_name, revision, finished_at) for report in _reports(begun)
    )


def result_objects(
    detail: StudyDetail,
    finding: ReportedResult,
    bundle: Bundle,
    storage: IntakeStorage,
    words: ResultSettings,
    on_picture: Callable[[], None] = lambda: None,
    kinds: Collection[ResultObjectKind] = tuple(ResultObjectKind),
    removed: Mapping[str, InstanceNames] = MappingProxyType({}),
) -> list[Dataset]:
    """Build the structured report, then the captures, of these `kinds`.

    `on_picture` is called before each capture. `removed` are images whose files were removed, by file
    name: while one image of the study is here, which says who the patient is, the report describes the
    others from their rows, so that a late image's result can be sent. Raises Rejected
    RESULT_FILES_GONE, Transient FILE_MISSING and what `build_results` raises.
    """
    members = [item for item in detail.instances if _belongs(item, finding.revision)]
    headers = _headers(members, storage, removed)
    outcomes = [
        _outcome_of(item, header, finding.model_name)
        for item, header in zip(members, headers, strict=True)
    ]
    names = {o.uid: item.file_name for o, item in zip(outcomes, members, strict=True)}

    def picture(item: InstanceResult, frame_number: int) -> Picture:
        on_picture()
        with _missing_is_transient():
            dataset = read_dataset(storage.path_of(names[item.uid]))
        return picture_of(dataset, frame_number, bundle.model, bundle.manifest.preprocessing)

    result = StudyResult(
        study_key=detail.summary.study_key,
        revision=finding.revision,
        model=ModelUsed.of(bundle.manifest),
        verdict=ResultVerdict(finding.verdict.value),
        finished_at=finding.finished_at,
        instances=tuple(outcomes),
        supersedes=finding.supersedes,
        earlier_forms=finding.earlier_forms,
    )
    return build_results(
        result,
        words,
        picture,
        report=ResultObjectKind.SR in kinds,
        captures=ResultObjectKind.CAPTURE in kinds,
    )


def _reports(objects: Sequence[SentObject]) -> list[SentObject]:
    return [item for item in objects if item.sop_class_uid == Comprehensive3DSRStorage]


def _predecessor(
    report: SentObject | None, model_name: str, revision: int, finished_at: datetime
) -> Predecessor:
    return Predecessor(
        sop_instance_uid=report.sop_instance_uid if report else None,
        series_instance_uid=report.series_instance_uid if report else None,
        model=model_name,
        revision=revision,
        finished_at=finished_at,
    )


def _belongs(instance: InstanceDetail, revision: int) -> bool:
    """Return whether that revision had the image, and no other content had replaced it."""
    replaced = instance.replaced_in_revision
    return instance.revision <= revision and (replaced is None or replaced > revision)


def _headers(
    members: Sequence[InstanceDetail],
    storage: IntakeStorage,
    removed: Mapping[str, InstanceNames],
) -> list[Dataset]:
    """Return the header of each from its file, or from its row if its file was removed."""
    here = [item for item in members if item.file_removed_at is None]
    without = [item for item in members if item.file_removed_at is not None]
    if without and not (here and all(item.file_name in removed for item in without)):
        raise Rejected("RESULT_FILES_GONE", _gone(without[0]))
    read: dict[int, Dataset] = {}
    for item in here:
        with _missing_is_transient():
            header = open_dataset(storage.path_of(item.file_name), stop_before_pixels=True)
            read[item.number] = drop_unreadable(header)
    for item in without:
        study_uid = str(read[here[0].number].StudyInstanceUID)
        read[item.number] = _from_row(removed[item.file_name], study_uid, item)
    return [read[item.number] for item in members]


def _from_row(names: InstanceNames, study_uid: str, instance: InstanceDetail) -> Dataset:
    """Return what a report says of an image that it refers to; of the person the id alone.

    The id is for the check that all images are of one patient: a late image may be of somebody else.
    """
    header = Dataset()
    header.StudyInstanceUID = study_uid
    if names.patient_id is not None:
        header.PatientID = names.patient_id
    header.SOPClassUID = names.sop_class_uid
    header.SOPInstanceUID = names.sop_instance_uid
    header.SeriesInstanceUID = names.series_instance_uid
    header.NumberOfFrames = max((p.frame_number for p in instance.predictions), default=1)
    return header


def _outcome_of(instance: InstanceDetail, header: Dataset, model_name: str) -> InstanceResult:
    """Join one instance's rows with its header."""
    is_here = instance.file_removed_at is None
    frames = tuple(_frame(p) for p in instance.predictions if p.model_name == model_name)
    if frames:
        return InstanceResult(header=header, frames=frames, is_here=is_here)
    refusal = instance.refusal
    return InstanceResult(
        header=header,
        is_here=is_here,
        not_evaluated=NotEvaluated(code=refusal.code, sentence=refusal.sentence)
        if refusal
        else NotEvaluated(
            code="NO_PREDICTION", sentence=f"{model_name} gave no prediction of this image."
        ),
    )


@contextmanager
def _missing_is_transient() -> Iterator[None]:
    """Retry for a file that the rows say is here: a mount is missing, not the study's files."""
    try:
        yield
    except FileNotFoundError:
        raise Transient(
            "FILE_MISSING",
            "A result is rendered from the study's files, and one is not in this machine's intake "
            "folder though no rule removed it. Results wait; mount the folder that PNEUMO_STATE_DIR "
            "names where the delivery worker runs, or restore the file.",
        ) from None


def _gone(instance: InstanceDetail) -> str:
    return (
        f"The retention rule (PNEUMO_KEEP_FILES_DAYS) removed the file of instance {instance.number} "
        f"on {instance.file_removed_at:%Y-%m-%d %H:%M:%S} UTC, and a result needs its header. Verdict "
        "and probabilities are kept: `pneumo show`. For the objects have the study sent to us once "
        "more, by any way: nothing is predicted twice, and `pneumo pull` does not fetch what is known. "
        "Then `pneumo results`, or for a parked delivery `pneumo deliveries --retry`."
    )


def _frame(prediction: PredictionDetail) -> FrameResult:
    return FrameResult(
        frame_number=prediction.frame_number,
        probability=prediction.probability,
        verdict=ResultVerdict(prediction.verdict.value),
        predicted_at=prediction.recorded_at,
        warnings=tuple(str(warning["sentence"]) for warning in prediction.warnings),
    )
