"""Build the DICOM Structured Report: Comprehensive 3D SR, TID 1500 Measurement Report.

highdicom builds the content tree. The document around it is built here, since highdicom's document
classes read the clock, refuse sources that lack type 2 elements, and know no private SOP classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, takewhile

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.uid import Comprehensive3DSRStorage

from worker.imaging.header_values import text
from worker.results import codes
from worker.results.common_modules import ObjectKind, base_dataset, reference
from worker.results.measurement_groups import code_item, comment, measurement_groups
from worker.results.patient_consistency import header_of_report
from worker.results.procedure import procedures_reported
from worker.results.result_settings import ResultSettings
from worker.results.study_clock import StudyClock
from worker.results.study_result import Predecessor, ResultVerdict, StudyResult
from worker.results.uids import ResultUids, device_uid

Instance = tuple[str, str, str]
"""Series Instance UID, SOP Class UID, SOP Instance UID."""


def build_report(result: StudyResult, settings: ResultSettings) -> Dataset:
    """Build the structured report of one result, ready for sending or writing."""
    uids = ResultUids.of(result, settings)
    source = header_of_report(result)
    report = base_dataset(result, source, settings, ObjectKind.REPORT, uids.report)
    _add_document(report, result, settings)
    for element in _content(result, source, settings, uids):
        report.add(element)
    return report


def summary_of(result: StudyResult) -> codes.Summary:
    """Return the summary of the whole study (CID 6047)."""
    return _SUMMARIES[(result.verdict, bool(result.left_out) and bool(result.evaluated))]


_SUMMARIES = {
    # (verdict, whether some images were evaluated and others not)
    (ResultVerdict.POSITIVE, False): codes.Summary.WITH_FINDINGS,
    (ResultVerdict.NEGATIVE, False): codes.Summary.WITHOUT_FINDINGS,
    (ResultVerdict.POSITIVE, True): codes.Summary.PARTLY_WITH_FINDINGS,
    (ResultVerdict.NEGATIVE, True): codes.Summary.PARTLY_WITHOUT_FINDINGS,
    (ResultVerdict.REJECTED, False): codes.Summary.NOT_EVALUATED,
}


def replaced_by(result: StudyResult, settings: ResultSettings) -> list[Predecessor]:
    """Return the reports that this one replaces.

    Of its own earlier forms only those that were begun before it, so that each attempt builds the
    same.
    """
    before = [result.supersedes] if result.supersedes else []
    own = ResultUids.of(result, settings).report
    return [*before, *takewhile(lambda form: form.sop_instance_uid != own, result.earlier_forms)]


def replaced_sentences(
    result: StudyResult, settings: ResultSettings, clock: StudyClock
) -> list[str]:
    """Return sentences that say what this result replaces."""
    sentences = [
        f"Replaces the result of {clock.for_display(before.finished_at)} "
        f"({before.model}, revision {before.revision} of the study)."
        for before in replaced_by(result, settings)
        if before is result.supersedes
    ]
    if len(replaced_by(result, settings)) > len(sentences):
        sentences.append(
            "Replaces the same result in other words, which may have been sent before."
        )
    return sentences


# --- the document (PS3.3 C.17.1 and C.17.2) ---------------------------------------------------------


def _add_document(report: Dataset, result: StudyResult, settings: ResultSettings) -> None:
    study_uid = report.StudyInstanceUID
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    # No radiologist has seen it, so it does not communicate the findings.
    report.PreliminaryFlag = "PRELIMINARY"
    sources = [
        (
            text(item.header, "SeriesInstanceUID") or "",
            text(item.header, "SOPClassUID") or "",
            item.uid,
        )
        for item in result.in_order
    ]
    report.CurrentRequestedProcedureEvidenceSequence = _hierarchy(study_uid, sources)
    older = [
        (before.series_instance_uid, Comprehensive3DSRStorage, before.sop_instance_uid)
        for before in replaced_by(result, settings)
        if before.series_instance_uid and before.sop_instance_uid
    ]
    if older:
        report.PredecessorDocumentsSequence = _hierarchy(study_uid, older)


def _hierarchy(study_uid: str, instances: Iterable[Instance]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference (PS3.3 C.17.2.1): study, series, instances."""
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = [
        _series_item(series_uid, list(members))
        for series_uid, members in groupby(sorted(instances), key=lambda instance: instance[0])
    ]
    return [study]


def _series_item(series_uid: str, members: Sequence[Instance]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_uid
    item.ReferencedSOPSequence = [reference(sop_class, uid) for _, sop_class, uid in members]
    return item


# --- the content tree (PS3.16 TID 1500) -------------------------------------------------------------


def _content(
    result: StudyResult, source: Dataset, settings: ResultSettings, uids: ResultUids
) -> Dataset:
    clock = StudyClock.of(source, settings)
    report = MeasurementReport(
        title=codes.MEASUREMENT_REPORT,
        observation_context=_observer(result, settings),
        procedure_reported=procedures_reported(result, source),
        imaging_measurements=list(measurement_groups(result, uids, clock)),
    )
    root = report[0]
    root.ContentSequence.append(_of_the_study(result, settings, clock))
    return root


def _observer(result: StudyResult, settings: ResultSettings) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=standard.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=device_uid(result.model),
                name=settings.device_name,
                manufacturer_name=settings.manufacturer,
                model_name=result.model.label,
                serial_number=result.model.bundle_digest,
            ),
        )
    )


def _of_the_study(
    result: StudyResult, settings: ResultSettings, clock: StudyClock
) -> ContainerContentItem:
    """Build TID 1500 "Qualitative Evaluations": the study's verdict, and comments on it."""
    container = ContainerContentItem(
        name=CodedConcept.from_code(codes.QUALITATIVE_EVALUATIONS),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    presence = _PRESENCE.get(result.verdict)
    evaluations = [code_item(codes.PNEUMONIA, presence)] if presence else []
    evaluations += [
        code_item(codes.SUMMARY, summary_of(result).value),
        code_item(codes.ANALYSES, _status(result).value),
    ]
    sentences = [settings.disclaimer, *replaced_sentences(result, settings, clock)]
    container.ContentSequence = ContentSequence([*evaluations, *map(comment, sentences)])
    return container


_PRESENCE = {ResultVerdict.POSITIVE: codes.PRESENT, ResultVerdict.NEGATIVE: codes.ABSENT}


def _status(result: StudyResult) -> codes.Status:
    if not result.evaluated:
        return codes.Status.NOT_ATTEMPTED
    return codes.Status.PARTIALLY_SUCCEEDED if result.left_out else codes.Status.SUCCEEDED
