"""Every element that we read, spoilt in every way that we could think of: refused, or read, no third.

Files are put together from bytes, since pydicom would not write most of them.
"""

from __future__ import annotations

import io
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from tests.builders.dicom import lut_item, make_instance
from tests.builders.spoiled_elements import SPOILINGS
from worker.imaging import reading
from worker.imaging.descriptions import DESCRIPTION_KEYWORDS
from worker.imaging.dicom_files import open_dataset
from worker.imaging.eligibility import EligibilityPolicy, MultiFrame, check_eligibility
from worker.imaging.header_values import GREATEST, drop_unreadable, text
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance
from worker.imaging.subject import SUBJECT_KEYWORDS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

SPEC = PreprocessingSpec(size=32)
OF_PIXELS = [
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("VOILUTSequence", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ShutterShape", "ShutterLeftVerticalEdge", "CenterOfCircularShutter"),
    *("RadiusOfCircularShutter", "VerticesOfThePolygonalShutter", "ShutterPresentationValue"),
    *("PresentationLUTShape", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]
READ = [*dict.fromkeys([*reading.HEADER_KEYWORDS, *OF_PIXELS])]
"""Every element of the dataset that is ever looked at."""


def plain_elements() -> dict[str, bytes]:
    """A radiograph with every element that we read, each as its bytes."""
    codes = Dataset()
    codes.CodingSchemeDesignator, codes.CodeValue = "SCT", "51185008"
    view = Dataset()
    view.CodingSchemeDesignator, view.CodeValue = "SCT", "272479007"
    dataset = make_instance(
        rows=16,
        columns=16,
        window=(2048, 4096),
        rescale=(1, 0),
        padding_value=0,
        padding_range_limit=1,
        number_of_frames=1,
        AnatomicRegionSequence=[codes],
        ViewCodeSequence=[view],
        PixelSpacing=["0.1", "0.1"],
        ImagerPixelSpacing=["0.1", "0.1"],
        PixelAspectRatio=[1, 1],
        SoftwareVersions=["1", "2"],
        VOILUTSequence=[lut_item(list(range(4096)), bits=12)],
    )
    written = {}
    for each in dataset:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, each)
        written[each.keyword] = buffer.getvalue()
    return written


PLAIN = plain_elements()
_META = io.BytesIO()
make_instance(rows=8, columns=8).save_as(_META, enforce_file_format=True)
HEAD = _META.getvalue()[: _META.getvalue().index(b"\x08\x00\x05\x00CS")]


def file_with(spoilt: dict[str, str]) -> bytes:
    """The file whose elements are spoilt: keyword -> name of the spoiling."""
    elements = {
        **PLAIN,
        **{k: SPOILINGS[how](k, dictionary_VR(k).split(" or ")[0]) for k, how in spoilt.items()},
    }
    return HEAD + b"".join(elements[k] for k in sorted(elements, key=tag_for_keyword))


def code_of(refused: RefusedInstance) -> str:
    """Its code; asserts that it was foreseen and quotes nobody."""
    assert "DOE" not in refused.sentence
    assert "reference" not in refused.sentence, "nobody had foreseen this"
    return refused.code


def fate_of(content: bytes) -> str:
    """The code of the refusal, or "predicted"; asserts what holds of every header and every frame."""
    try:
        header = read_header(io.BytesIO(content))
        for value in asdict(header).values():
            if isinstance(value, str):
                value.encode()  # no surrogates
                assert "\0" not in value
            if isinstance(value, int):
                assert abs(value) <= GREATEST
        check_eligibility(header)
        judgement = check_eligibility(
            header, EligibilityPolicy(multi_frame=MultiFrame.FIRST, min_side=1)
        )
        dataset = read_dataset(io.BytesIO(content))
        pixels = normalise_frame(dataset, SPEC).pixels
    except RefusedInstance as refused:
        return code_of(refused)
    assert np.isfinite(pixels).all()
    return judgement.refusals[0].code if judgement.refusals else "predicted"


def test_the_plain_file_is_predicted() -> None:
    assert fate_of(file_with({})) == "predicted"
    assert set(READ) - set(PLAIN) <= {
        *("PresentationIntentType", "BurnedInAnnotation", "PatientBirthDate", "PatientOrientation"),
        *("NominalScannedPixelSpacing", "VOILUTFunction", "IssuerOfPatientID"),
        *("ProcedureCodeSequence", "ShutterShape", "ShutterPresentationValue"),
        *("ShutterLeftVerticalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter"),
        "VerticesOfThePolygonalShutter",
        *DESCRIPTION_KEYWORDS,
        *SUBJECT_KEYWORDS,
        *("ModalityLUTSequence", "PresentationLUTShape"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    }


@pytest.mark.parametrize("keyword", READ)
def test_one_element_spoilt_in_every_way(keyword: str) -> None:
    fates = {how: fate_of(file_with({keyword: how})) for how in SPOILINGS}
    assert set(fates.values()) - {"predicted"}, "nothing at all was refused"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    spoilt=st.dictionaries(st.sampled_from(READ), st.sampled_from(sorted(SPOILINGS)), max_size=4)
)
def test_several_elements_spoilt_at_once(spoilt: dict[str, str]) -> None:
    fate_of(file_with(spoilt))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    spoilt=st.dictionaries(st.sampled_from(READ), st.sampled_from(sorted(SPOILINGS)), max_size=4)
)
def test_what_is_left_of_a_header_can_be_told_of(spoilt: dict[str, str]) -> None:
    """As a report does of an image beside the predicted ones: it reads, copies and writes."""
    try:
        header = open_dataset(io.BytesIO(file_with(spoilt)), stop_before_pixels=True)
    except RefusedInstance:
        return
    kept = drop_unreadable(header)
    for keyword in READ:
        if dictionary_VR(keyword) in {"LO", "SH", "PN", "CS", "DA", "UI"}:
            text(kept, keyword)
    kept.save_as(io.BytesIO(), enforce_file_format=False)


@pytest.mark.parametrize(
    ("keyword", "how", "words"),
    [
        (
            "NumberOfFrames",
            f"IS {'9' * 12!r} of 400",
            r"\(0028,0008\) Number of Frames: found a number beyond all bounds; expected a whole",
        ),
        ("NumberOfFrames", "FD inf", "Number of Frames: found a number beyond all bounds"),
        ("NumberOfFrames", "IS 'abc' of 3", "Number of Frames: found a value that is no number"),
        ("Rows", "FD -inf", r"\(0028,0010\) Rows: found a number beyond all bounds"),
        (
            "AnatomicRegionSequence",
            "LO, a name",
            r"\(0008,2218\) Anatomic Region Sequence: found a value or several; exp",
        ),
        ("ViewCodeSequence", "US of 2 bytes", r"\(0054,0220\) View Code Sequence: found a value"),
        ("ViewCodeSequence", "codes that are sequences", "Designator: found a sequence of items"),
        ("PatientID", "a sequence of one item", r"\(0010,0020\) Patient ID: found a sequence of"),
        ("Modality", "OB of 8 bytes", r"\(0008,0060\) Modality: found bytes; expected a value"),
        ("ViewCodeSequence", "1,000 levels, undefined", "found elements that cannot be parsed"),
    ],
)  # fmt: skip
def test_the_refusal_names_the_element_and_no_value(keyword: str, how: str, words: str) -> None:
    with pytest.raises(RefusedInstance, match=words) as refusal:
        read_header(io.BytesIO(file_with({keyword: how})))
    assert refusal.value.code == "HEADER_UNREADABLE"
