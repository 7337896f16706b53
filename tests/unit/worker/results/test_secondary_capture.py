"""The captures as DICOM objects, read back from their bytes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from tests.builders.iod_tables import faults
from tests.builders.results import (
    STUDY_UID,
    WHEN,
    drawn_picture,
    make_result,
    make_result_settings,
    picture_of_any,
    predicted_instance,
    refused_instance,
)
from worker.imaging.eligibility import check_eligibility
from worker.imaging.reading import read_header
from worker.results.build import build_results, to_bytes
from worker.results.capture_text import image_text, notice_text
from worker.results.secondary_capture import build_captures
from worker.results.study_result import Predecessor, StudyResult
from worker.results.uids import ResultUids


def captures_of(result: StudyResult, picture_of=picture_of_any, **settings):
    made = build_captures(result, make_result_settings(**settings), picture_of)
    return [pydicom.dcmread(io.BytesIO(to_bytes(dataset))) for dataset in made]


def test_a_capture_is_a_sound_picture_in_a_series_of_its_own():
    (capture,) = captures_of(make_result(predicted_instance(0.9)))
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert capture.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert faults(capture) == []
    assert capture.StudyInstanceUID == STUDY_UID
    assert capture.SeriesInstanceUID != f"{STUDY_UID}.2"
    assert (capture.Modality, capture.ConversionType) == ("OT", "WSD")
    assert capture.pixel_array.shape == (1280, 1024, 3)
    assert len(np.unique(capture.pixel_array)) > 100
    assert (capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture) == (
        "20261123",
        "095007",
    )


def test_it_names_the_image_that_it_shows():
    (capture,) = captures_of(make_result(predicted_instance(0.9, PatientOrientation=["L", "F"])))
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == f"{STUDY_UID}.3.1"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert "ReferencedFrameNumber" not in source
    assert list(capture.PatientOrientation) == ["L", "F"]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [(["R", "F"], ["L", "F"]), (["H", "R"], ["L", "F"]), (["RH", "FR"], ["LF", "FR"])],
)
def test_its_orientation_is_that_of_the_turned_picture(stored, shown):
    (capture,) = captures_of(make_result(predicted_instance(0.9, PatientOrientation=stored)))
    assert list(capture.PatientOrientation) == shown


def test_of_several_frames_it_shows_the_one_that_decides():
    asked = []

    def picture_of(item, frame_number):
        asked.append(frame_number)
        return drawn_picture()

    single, several = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7.2"
    for sop_class, named in ((several, 2), (single, None)):
        item = predicted_instance(0.1, 0.8, 0.3, sop_class_uid=sop_class)
        (capture,) = captures_of(make_result(item), picture_of)
        assert capture.SourceImageSequence[0].get("ReferencedFrameNumber") == named
    assert asked == [2, 2]


def test_each_predicted_image_has_one_in_one_series():
    result = make_result(
        predicted_instance(0.9, number=1), refused_instance(2), predicted_instance(0.2, number=3)
    )
    first, second = captures_of(result)
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 3)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID == ResultUids.of(result, make_result_settings()).capture(
        f"{STUDY_UID}.3.1"
    )
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.ImageComments.startswith("Pneumonia present. ")
    assert second.ImageComments.startswith("Pneumonia absent. ")


def test_of_a_rejected_study_there_is_one_notice_and_no_picture_is_asked_for():
    def picture_of(_item, _frame_number):
        raise AssertionError("nothing was evaluated")

    (notice,) = captures_of(make_result(refused_instance(1), refused_instance(2)), picture_of)
    assert faults(notice) == []
    assert notice.ImageComments.startswith("Not evaluated. ")
    assert "SourceImageSequence" not in notice
    assert "BodyPartExamined" not in notice
    assert notice.pixel_array.max() > 200


@pytest.mark.parametrize(
    ("keywords", "lossy"),
    [
        ({}, None),
        ({"transfer_syntax": JPEG2000Lossless}, None),
        ({"transfer_syntax": JPEGBaseline8Bit, "bits_stored": 8}, "01"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}, "01"),
        ({"LossyImageCompression": "00"}, None),
    ],
)
def test_once_lossy_always_lossy(keywords, lossy):
    (capture,) = captures_of(make_result(predicted_instance(0.9, **keywords)))
    assert capture.get("LossyImageCompression") == lossy
    assert capture.get("LossyImageCompressionRatio") == keywords.get("LossyImageCompressionRatio")


@pytest.mark.parametrize(("stated", "kept"), [("YES", "YES"), ("NO", "NO"), ("PERHAPS", None)])
def test_burned_in_annotation_is_as_true_as_it_was(stated, kept):
    (capture,) = captures_of(make_result(predicted_instance(0.9, BurnedInAnnotation=stated)))
    assert capture.get("BurnedInAnnotation") == kept


def test_a_capture_that_comes_back_to_us_is_not_read(tmp_path):
    """A PACS may route everything in a study to us."""
    (capture,) = captures_of(make_result(predicted_instance(0.9)))
    path = tmp_path / "capture.dcm"
    path.write_bytes(to_bytes(capture))
    assert not check_eligibility(read_header(path)).eligible


def test_report_and_captures_are_built_together_and_again_the_same():
    result = make_result(predicted_instance(0.9), refused_instance(2))
    made, again = (build_results(result, make_result_settings(), picture_of_any) for _ in range(2))
    assert [dataset.Modality for dataset in made] == ["SR", "OT"]
    assert [to_bytes(d) for d in made] == [to_bytes(d) for d in again]
    assert made[0].SeriesInstanceUID != made[1].SeriesInstanceUID


# --- words ------------------------------------------------------------------------------------------


def details_of(result: StudyResult, **settings) -> tuple[str, ...]:
    return image_text(
        result, result.evaluated[0], make_result_settings(**settings), marked=True
    ).details


def test_model_version_and_date_stand_first():
    details = details_of(make_result(predicted_instance(0.9)), time_zone="Europe/Berlin")
    assert details[0] == "resnet50 9.9.9  ·  2026-11-23 10:50 CET"
    assert details[1] == "Image 1 of 1  ·  revision 1  ·  bundle 01234567"


def test_who_reads_one_image_learns_of_the_others():
    result = make_result(
        predicted_instance(0.1, number=1), predicted_instance(0.9, number=2), refused_instance(3)
    )
    details = details_of(result)
    assert "All images together: Pneumonia present (0.900)." in details
    assert "1 of 3 images not evaluated: see the structured report." in details


def test_warnings_come_before_everything_but_the_model():
    details = details_of(
        make_result(predicted_instance(0.9, says=("(0010,1010) Patient's Age: found 66.",)))
    )
    assert details[2] == "Patient's Age: found 66."


def test_the_frame_is_named_where_there_are_several():
    assert (
        "Image 1 of 1  ·  frame 2 of 2" in details_of(make_result(predicted_instance(0.1, 0.9)))[1]
    )


def test_a_superseding_capture_says_so():
    before = Predecessor(
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        model="resnet50-9.9.8",
        revision=1,
        finished_at=WHEN,
    )
    for item, words in ((predicted_instance(0.9), image_text), (refused_instance(1), notice_text)):
        result = replace(make_result(item), supersedes=before, revision=2)
        arguments = (item,) if words is image_text else ()
        options = {"marked": True} if words is image_text else {}
        said = words(result, *arguments, make_result_settings(), **options)
        assert (
            "Replaces the result of 2026-11-23 09:50 UTC (resnet50-9.9.8, revision 1 of the study)."
            in said.details
        )


def test_a_notice_gives_each_images_reason_and_claims_nothing():
    said = notice_text(
        make_result(refused_instance(1), refused_instance(2, "The file: found nothing.")),
        make_result_settings(),
    )
    assert (said.headline, said.probability) == ("Not evaluated", None)
    assert "This says neither that there is pneumonia nor that there is none." in said.details
    assert said.details[-2:] == (
        "Image 1: View Position: found LL; expected PA or AP. Send a frontal view.",
        "Image 2: The file: found nothing.",
    )


def test_a_negative_is_shown_plain_and_says_why():
    """Heat is relative to its own picture: at p = 0.012 its peak would be as strong as at 0.99."""
    hot, cold = drawn_picture(), drawn_picture(hot=False)
    (with_heat,) = captures_of(make_result(predicted_instance(0.012)), lambda *_: hot)
    (without,) = captures_of(make_result(predicted_instance(0.012)), lambda *_: cold)
    (positive,) = captures_of(make_result(predicted_instance(0.99)), lambda *_: hot)
    assert (with_heat.pixel_array == without.pixel_array).all()
    radiograph = slice(0, 700)
    assert np.ptp(with_heat.pixel_array[radiograph].astype(int), axis=2).max() == 0
    assert np.ptp(positive.pixel_array[radiograph].astype(int), axis=2).max() > 100
    assert "Grad-CAM" not in with_heat.DerivationDescription
    assert "Grad-CAM" in positive.DerivationDescription


def test_of_a_positive_study_the_negative_image_is_plain():
    result = make_result(predicted_instance(0.9, number=1), predicted_instance(0.1, number=2))
    coloured = [np.ptp(d.pixel_array[:700].astype(int), axis=2).max() for d in captures_of(result)]
    assert coloured[0] > 100
    assert coloured[1] == 0


@pytest.mark.parametrize(
    ("probability", "heat", "legend"),
    [
        (0.9, True, "Its strength is relative, and no probability."),
        (0.9, False, "Nothing is marked: no part of this picture stood out."),
        (0.1, False, "Nothing is marked: the result is below the threshold."),
    ],
)
def test_the_marking_is_explained(probability, heat, legend):
    result = make_result(predicted_instance(probability))
    said = image_text(result, result.evaluated[0], make_result_settings(), marked=heat)
    assert said.legend.endswith(legend)
