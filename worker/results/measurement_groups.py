"""Build TID 1501 with highdicom: the result of one frame, or why an image was not evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CompositeContentItem,
    ContentItem,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code

from worker.imaging.header_values import text
from worker.results import codes
from worker.results.sop_classes import frame_to_reference, is_image
from worker.results.study_clock import StudyClock
from worker.results.study_result import (
    FrameResult,
    InstanceResult,
    ModelUsed,
    ResultVerdict,
    StudyResult,
)
from worker.results.uids import ResultUids

IMAGE_NOT_KEPT = "Assessed before, and not kept: there is no picture of it with this report."


def measurement_groups(
    result: StudyResult, uids: ResultUids, clock: StudyClock
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """Yield one group for each predicted frame and for each image that was left out, in order."""
    for number, item in enumerate(result.in_order, start=1):
        for frame in item.frames:
            yield _evaluated(item, frame, f"Image {number}", result.model, uids, clock)
        if not item.frames:
            yield _not_evaluated(item, f"Image {number}", result.model, uids)


def algorithm(model: ModelUsed) -> AlgorithmIdentification:
    """Return TID 4019: name, version, and everything by which the number can be traced."""
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[
            f"threshold={model.threshold!r}",
            f"bundle_sha256={model.bundle_digest}",
            f"preprocessing_version={model.preprocessing_version}",
        ],
        family=codes.ARTIFICIAL_INTELLIGENCE,
    )


def code_item(name: Code, value: Code) -> CodeContentItem:
    """Return a coded statement inside a container."""
    return CodeContentItem(
        name=name, value=value, relationship_type=RelationshipTypeValues.CONTAINS
    )


def comment(sentence: str) -> TextContentItem:
    """Return a sentence inside a container."""
    return TextContentItem(
        name=codes.COMMENT, value=sentence, relationship_type=RelationshipTypeValues.CONTAINS
    )


def _evaluated(
    item: InstanceResult,
    frame: FrameResult,
    name: str,
    model: ModelUsed,
    uids: ResultUids,
    clock: StudyClock,
) -> MeasurementsAndQualitativeEvaluations:
    positive = frame.verdict is ResultVerdict.POSITIVE
    summary = codes.Summary.WITH_FINDINGS if positive else codes.Summary.WITHOUT_FINDINGS
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(item, frame.frame_number, name, uids),
        finding_type=codes.PNEUMONIA,
        finding_sites=[FindingSite(anatomic_location=codes.LUNG)],
        algorithm_id=algorithm(model),
        measurements=[
            Measurement(name=codes.PROBABILITY, value=float(frame.probability), unit=codes.NO_UNITS)
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(codes.PNEUMONIA, codes.PRESENT if positive else codes.ABSENT),
            QualitativeEvaluation(codes.SUMMARY, summary.value),
            QualitativeEvaluation(codes.ANALYSES, codes.Status.SUCCEEDED.value),
        ],
    )
    group[0].ObservationDateTime = clock.date_time(frame.predicted_at)
    group[0].ContentSequence.append(_source(item, frame.frame_number))
    group[0].ContentSequence.extend([comment(sentence) for sentence in frame.warnings])
    if not item.is_here:
        group[0].ContentSequence.append(comment(IMAGE_NOT_KEPT))
    return group


def _not_evaluated(
    item: InstanceResult, name: str, model: ModelUsed, uids: ResultUids
) -> MeasurementsAndQualitativeEvaluations:
    """Return a group without finding and probability: an unassessed image must not look negative."""
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(item, 1, name, uids),
        algorithm_id=algorithm(model),
        qualitative_evaluations=[
            QualitativeEvaluation(codes.SUMMARY, codes.Summary.NOT_EVALUATED.value),
            QualitativeEvaluation(codes.ANALYSES, codes.Status.NOT_ATTEMPTED.value),
        ],
    )
    group[0].ContentSequence.append(_source(item, None))
    if item.not_evaluated:
        reason = f"Not evaluated: {item.not_evaluated.code}. {item.not_evaluated.sentence}"
        group[0].ContentSequence.append(comment(reason))
    return group


def _tracking(
    item: InstanceResult, frame_number: int, name: str, uids: ResultUids
) -> TrackingIdentifier:
    label = f"{name}, frame {frame_number}" if len(item.frames) > 1 else name
    return TrackingIdentifier(identifier=label, uid=uids.tracking(item.uid, frame_number))


def _source(item: InstanceResult, frame_number: int | None) -> ContentItem:
    """Reference the image; a non-image (a report, a presentation state) as a composite object."""
    sop_class_uid = text(item.header, "SOPClassUID") or ""
    if not is_image(sop_class_uid):
        return CompositeContentItem(
            name=codes.SOURCE,
            referenced_sop_class_uid=sop_class_uid,
            referenced_sop_instance_uid=item.uid,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
    named = frame_to_reference(item.header, frame_number) if frame_number else None
    return SourceImageForMeasurementGroup(
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=item.uid,
        referenced_frame_numbers=[named] if named else None,
    )
