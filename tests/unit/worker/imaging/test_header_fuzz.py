"""Every element that we read, spoilt in every way that we could think of: refused, or read, no third.

Files are put together from bytes, since pydicom would not write most of them.
"""

from __future__ import annotations

import io
import struct
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
    *("PresentationLUTShape", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]
READ = [*dict.fromkeys([*reading.HEADER_KEYWORDS, *OF_PIXELS])]
"""Every element of the dataset that is ever looked at."""
LONG_LENGTHS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
"""VRs with two reserved bytes and a 32-bit length (PS3.5 7.1.2)."""
UNDEFINED = 0xFFFFFFFF


def element(keyword: str, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian; `length` may lie."""
    tag = tag_for_keyword(keyword)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    length = len(value) if length is None else length
    if vr in LONG_LENGTHS:
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def nested(keyword: str, levels: int, *, defined: bool) -> bytes:
    content = b""
    for _ in range(levels):
        if defined:
            content = element(keyword, "SQ", item(content))
        else:
            ends = (struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
            begin = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
            content = element(keyword, "SQ", begin + content + ends[0] + ends[1], UNDEFINED)
    return content


NUMBERS = [
    *(
        "9" * 400,
        "-" + "9" * 400,
        "1" + "0" * 5000,
        "inf",
        "-inf",
        "nan",
        "1e400",
        "1e308",
        "-1e308",
    ),
    *("1e-320", "0", "-1", "4294967296", "2147483648", "abc", "1,5", "1\\2", "\\", " ", "1e5"),
]
WORDS = {
    "10,000 characters": b"A" * 10_000,
    "bytes of no character set": b"\xff\xfe\x80\x1b$)C\xff",
    "NUL within": b"DOE\0JANE",
    "many values": b"A\\" * 500,
    "a name": b"DOE^JANE",
}
SPOILINGS = {
    "absent": lambda _k, _v: b"",
    "empty": lambda k, v: element(k, v, b""),
    **{
        f"{vr} of {size} bytes": lambda k, _v, vr=vr, size=size: element(k, vr, b"\x7f" * size)
        for vr in ("US", "SS", "FD", "OB", "UN", "XX")
        for size in (1, 2, 8)
    },
    **{
        f"{vr} {number[:12]!r} of {len(number)}": lambda k, _v, vr=vr, n=number: element(
            k, vr, n.encode()
        )
        for vr in ("IS", "DS", "LO")
        for number in NUMBERS
    },
    **{
        f"FD {number}": lambda k, _v, n=number: element(k, "FD", struct.pack("<d", float(n)))
        for number in ("inf", "-inf", "nan", "1e308", "-0.0", "5e-324")
    },
    **{
        f"{vr or 'its VR'}, {name}": lambda k, v, vr=vr, value=value: element(k, vr or v, value)
        for vr in (None, "LO", "PN")
        for name, value in WORDS.items()
    },
    "a sequence of no items": lambda k, _v: element(k, "SQ", b""),
    "a sequence of one item": lambda k, _v: element(
        k, "SQ", item(element("PatientName", "PN", b"DOE^JANE"))
    ),
    "a sequence of an empty item": lambda k, _v: element(k, "SQ", item(b"")),
    "a sequence that is text": lambda k, _v: element(k, "SQ", b"DOE^JANE" * 3),
    "codes that are sequences": lambda k, _v: element(
        k,
        "SQ",
        item(
            element("CodeValue", "SQ", item(b""))
            + element("CodingSchemeDesignator", "SQ", item(b""))
            + element("LUTDescriptor", "FD", struct.pack("<3d", 4.0, float("inf"), 16.0))
            + element("LUTData", "DS", b"nan\\inf\\1e400")
        ),
    ),
    "20 levels, defined": lambda k, _v: nested(k, 20, defined=True),
    "20 levels, undefined": lambda k, _v: nested(k, 20, defined=False),
    "1,000 levels, defined": lambda k, _v: nested(k, 1000, defined=True),
    "1,000 levels, undefined": lambda k, _v: nested(k, 1000, defined=False),
    "longer than the file": lambda k, v: element(k, v, b"12", 0xFFFE),
}


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
        *("NominalScannedPixelSpacing", "VOILUTFunction"),
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
