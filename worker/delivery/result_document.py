"""The rows of a study and the headers of its files, as the result that goes to the PACS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from pydicom.dataset import Dataset

from db.values.deliveries import InstanceNames
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
    words: ResultSettings,
    on_picture: Callable[[], None] = lambda: None,
    kinds: Collection[ResultObjectKind] = tuple(ResultObjectKind),
    gone: Mapping[str, InstanceNames] = MappingProxyType({}),
) -> list[Dataset]:
    """The structured report, then the captures, of these `kinds`. `on_picture` is called before each
    capture.

    `gone`: images whose files have left, by file name. While one image of the study is here, which
    says whose it is, the others are told of from their rows: so a late image's result can be sent.
    Raises Rejected RESULT_FILES_GONE, Transient FILE_MISSING and what `build_results` raises.
    """
    members = [item for item in detail.instances if _belongs(item, finding.revision)]
    headers = _headers(members, storage, gone)
    outcomes = [
        _outcome_of(item, header, finding.model_name)
        for item, header in zip(members, headers, strict=True)
    ]
    names = {o.uid: item.file_name for o, item in zip(outcomes, members, strict=True)}

    def picture(item: InstanceResult, frame_number: int) -> Picture:
        on_picture()
        with _missing_told():
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


def _belongs(instance: InstanceDetail, revision: int) -> bool:
    """Whether the image had come with that revision and no other content had taken its place."""
    replaced = instance.replaced_in_revision
    return instance.revision <= revision and (replaced is None or replaced > revision)


def _headers(
    members: Sequence[InstanceDetail],
    storage: IntakeStorage,
    gone: Mapping[str, InstanceNames],
) -> list[Dataset]:
    """The header of each from its file, or of one whose file has left from its row."""
    here = [item for item in members if item.file_removed_at is None]
    left = [item for item in members if item.file_removed_at is not None]
    if left and not (here and all(item.file_name in gone for item in left)):
        raise Rejected("RESULT_FILES_GONE", _gone(left[0]))
    read: dict[int, Dataset] = {}
    for item in here:
        with _missing_told():
            header = open_dataset(storage.path_of(item.file_name), stop_before_pixels=True)
            read[item.number] = drop_unreadable(header)
    for item in left:
        study_uid = str(read[here[0].number].StudyInstanceUID)
        read[item.number] = _from_row(gone[item.file_name], study_uid, item)
    return [read[item.number] for item in members]


def _from_row(names: InstanceNames, study_uid: str, instance: InstanceDetail) -> Dataset:
    """What a report says of an image that it refers to; of the person the id alone.

    The id is for `whose.check_one_patient`: a late image may be of somebody else.
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
    """One instance's rows, with its header."""
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
def _missing_told() -> Iterator[None]:
    """A file that the rows count on: a mount that is missing here, not a study without files."""
    try:
        yield
    except FileNotFoundError:
        raise Transient(
            "FILE_MISSING",
            "A result is made from the study's files, and one is not in this machine's intake folder "
            "though no rule removed it. Results wait; mount the folder that PNEUMO_STATE_DIR names "
            "where deliveries are made, or restore the file.",
        ) from None


def _gone(instance: InstanceDetail) -> str:
    return (
        f"The file of instance {instance.number} left on "
        f"{instance.file_removed_at:%Y-%m-%d %H:%M:%S} UTC by the retention rule "
        "(PNEUMO_KEEP_FILES_DAYS), and a result needs its header. Verdict and "
        "probabilities stand: `pneumo show`. For the objects have the study sent to us once more, "
        "by any way: nothing is predicted twice, and `pneumo pull` does not fetch what is known. "
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
