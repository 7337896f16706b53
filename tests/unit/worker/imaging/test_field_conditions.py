"""What radiographs in the field carry, one row a condition: its name, its source, how it is made, what is right.

Each is a whole file, written and read again. A source is the section of the standard that is broken
or bent, or the kind of system that writes it so.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.builders.dicom import chest_like_pixels, encode_frame, make_instance
from worker.imaging.eligibility import EligibilityPolicy, check_eligibility
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

CHILDREN = EligibilityPolicy(population_age_years=(1, 5))
GREY = chest_like_pixels(160, 144)
UNREADABLE = "found a value that cannot be read; expected"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition and what is right."""

    name: str
    """What is odd about the file."""
    source: str
    """Where such files come from, or which rule they bend."""
    build: Callable[[], Dataset | bytes]
    """Makes the instance, or its file."""
    refused: str | None = None
    """The code of its refusal; None: it is predicted."""
    words: str = ""
    """What the refusal, or else a warning, says."""
    warned: tuple[str, ...] = ()
    """The codes of its warnings if it is predicted."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What its record says if it is predicted."""
    shown: Callable[[np.ndarray], np.ndarray] = lambda plain: plain
    """The picture, made from that of the file without the oddity."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a file."""

    refused: str | None = None
    sentences: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    record: NormalisationRecord | None = None
    pixels: np.ndarray | None = None


def instance(**keywords: Any) -> Callable[[], Dataset]:
    """A builder of the plain chest with these elements; bytes are written as they stand."""
    raw = {k: v for k, v in keywords.items() if isinstance(v, bytes)}
    usual = {"window": (2048, 4096), **{k: v for k, v in keywords.items() if k not in raw}}

    def build() -> Dataset:
        dataset = make_instance(pixels=GREY, **usual)
        for keyword, value in raw.items():
            tag, vr = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword).split(" or ")[0]
            dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        return dataset

    return build


def file_of(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def spoilt(keyword: str, vr: str, value: bytes) -> Callable[[], bytes]:
    """A builder of the plain chest's file with one element as pydicom would not write it."""

    def build() -> bytes:
        dataset = instance()()
        tag = Tag(tag_for_keyword(keyword))
        if tag not in dataset:
            dataset[tag] = RawDataElement(tag, "US", 2, b"??", 0, False, True)
        plain = file_of(dataset)
        start = plain.index(struct.pack("<HH", tag.group, tag.elem))
        (length,) = struct.unpack_from("<H", plain, start + 6)
        element = plain[start : start + 4] + vr.encode() + struct.pack("<H", len(value)) + value
        return plain[:start] + element + plain[start + 8 + length :]

    return build


def outcome_of(built: Dataset | bytes) -> Outcome:
    content = built if isinstance(built, bytes) else file_of(built)
    try:
        header = read_header(io.BytesIO(content))
    except RefusedInstance as refused:
        return Outcome(refused=refused.code, sentences=(refused.sentence,))
    judgement = check_eligibility(header, CHILDREN)
    if judgement.refusals:
        (refusal,) = judgement.refusals
        return Outcome(refused=refusal.code, sentences=(refusal.sentence,))
    try:
        frame = normalise_frame(read_dataset(io.BytesIO(content)), PreprocessingSpec())
    except RefusedInstance as refused:
        return Outcome(refused=refused.code, sentences=(refused.sentence,))
    return Outcome(
        sentences=tuple(warning.sentence for warning in judgement.warnings),
        warned=tuple(warning.code for warning in judgement.warnings),
        record=frame.record,
        pixels=frame.pixels,
    )


DS = "PS3.5 6.2, DS: a number with a point; consoles set to a language that writes a comma"
NUMBERS = [
    Condition(
        name="squeezed pixels, sizes with decimal commas",
        source=f"{DS} (dcmjs issue 287)",
        build=instance(ImagerPixelSpacing=b"0,200\\0,100 "),
        refused="PIXELS_NOT_SQUARE",
        words=r"found Imager Pixel Spacing 0.2\0.1",
    ),
    Condition(
        name="square pixels, sizes with decimal commas",
        source=DS,
        build=instance(ImagerPixelSpacing=b"0,143\\0,143 "),
        warned=("DECIMAL_COMMA",),
        words="read as a point in (0018,1164) Imager Pixel Spacing.",
    ),
    Condition(
        name="a window with decimal commas",
        source=f"{DS} (fo-dicom issues 1296, 1915)",
        build=instance(WindowCenter=b"2048,0", WindowWidth=b"4096,0"),
        record={
            "voi": "window",
            "window_center": 2048.0,
            "window_width": 4096.0,
            "decimal_commas": "WindowCenter WindowWidth",
        },
    ),
    Condition(
        name="a rescale with decimal commas",
        source=DS,
        build=instance(RescaleSlope=b"1,0 ", RescaleIntercept=b"0,0 "),
        record={"modality": "identity", "decimal_commas": "RescaleSlope RescaleIntercept"},
    ),
    *(
        Condition(
            name=f"{keyword} {value!r}",
            source=DS,
            build=instance(**{keyword: value}),
            refused="ELEMENT_UNREADABLE",
            words=UNREADABLE,
        )
        for keyword, value in [
            ("ImagerPixelSpacing", b"0.2,0.1 "),
            ("ImagerPixelSpacing", b"0,2,0,1 "),
            ("ImagerPixelSpacing", b"0.2mm\\0.2mm"),
            ("ImagerPixelSpacing", b"0.2 "),
            ("PixelSpacing", b"-0.1\\0.1"),
            ("NominalScannedPixelSpacing", b"0\\0.1 "),
            ("PixelAspectRatio", b"1:1 "),
            ("WindowCenter", b"1.500,0 "),
            ("WindowCenter", b"auto"),
            ("WindowWidth", b"4_096 "),
            ("WindowWidth", b"4096\\x"),
            ("RescaleSlope", b"one "),
            ("RescaleIntercept", b"- "),
            ("PixelPaddingValue", b"\0\0\1\0"),
            ("PresentationLUTShape", b"INVERTED"),
        ]
    ),
    Condition(
        name="pixel sizes of 0",
        source="a Philips Thoravision (pydicom-data's RG1): a size that nobody knows",
        build=instance(PixelSpacing=b"0.000000\\0.000000 "),
    ),
    Condition(
        name="pixel sizes of two blanks",
        source="PS3.5 6.4: a value of no length among several",
        build=instance(PixelSpacing=b" \\  "),
    ),
    Condition(
        name="a window without a width",
        source="PS3.3 C.11.2.1.2: the two come in pairs",
        build=instance(window=None, WindowCenter=b"2048"),
        record={
            "voi": "percentile_stretch",
            "voi_passed_over": "the window lacks its center or width",
        },
        shown=lambda _: outcome_of(instance(window=None)()).pixels,
    ),
    Condition(
        name="an unreadable window behind a VOI LUT",
        source="PS3.3 C.11.2.1: the table comes first, so the window decides nothing",
        build=lambda: _with_table(instance(WindowCenter=b"auto")()),
        record={"voi": "voi_lut_sequence", "windows_present": 0},
    ),
]


def _with_table(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    dataset.VOILUTSequence = [item]
    return dataset


UNKNOWN_VR = "PS3.5 6.2: no value of this kind can be parsed"
ELEMENTS = [
    *(
        Condition(
            name=f"{keyword} that cannot be parsed",
            source=UNKNOWN_VR,
            build=spoilt(keyword, "XX", b"??"),
            refused="ELEMENT_UNREADABLE",
            words=UNREADABLE,
        )
        for keyword in (
            "BodyPartExamined",
            "ViewPosition",
            "BurnedInAnnotation",
            "PatientOrientation",
        )
    ),
    Condition(
        name="padding of one byte",
        source="PS3.5 6.2, US: two bytes",
        build=spoilt("PixelPaddingValue", "US", b"1"),
        refused="ELEMENT_UNREADABLE",
        words=f"(0028,0120) Pixel Padding Value: {UNREADABLE}",
    ),
    Condition(
        name="rows of one byte",
        source="PS3.5 6.2, US: two bytes",
        build=spoilt("Rows", "US", b"1"),
        refused="ROWS_OUT_OF_RANGE",
        words=f"(0028,0010) Rows: {UNREADABLE}",
    ),
    Condition(
        name="an id that cannot be parsed",
        source=UNKNOWN_VR,
        build=spoilt("PatientID", "XX", b"??"),
        warned=("ELEMENT_UNREADABLE",),
        words="judged without elements that cannot be read: (0010,0020) Patient ID.",
    ),
    Condition(
        name="an unknown intent",
        source="PS3.3 C.8.11.1.1.1: two enumerated values",
        build=instance(PresentationIntentType="FOR ARCHIVE"),
        refused="ELEMENT_UNREADABLE",
        words="(0008,0068) Presentation Intent Type: found",
    ),
    *(
        Condition(
            name=f"{keyword} {value!r}",
            source="PS3.5 6.2, CS: capitals; gateways that write small letters and blanks",
            build=instance(**{keyword: value}),
        )
        for keyword, value in [
            ("PhotometricInterpretation", b"Monochrome2 "),
            ("PhotometricInterpretation", b" MONOCHROME2"),
            ("PresentationLUTShape", b"Identity"),
            ("VOILUTFunction", b"linear"),
            ("Modality", b"cr"),
            ("PresentationIntentType", b"For  Presentation "),
            ("BurnedInAnnotation", b"No"),
            ("BodyPartExamined", b"chest "),
            ("ViewPosition", b"pa"),
            ("PatientOrientation", b"l\\f "),
        ]
    ),
]


BIRTH = {"patient_age": None, "study_date": "20260102"}
OUTSIDE, UNKNOWN, UNREAD = (
    ("PATIENT_AGE_OUTSIDE_POPULATION",),
    ("PATIENT_AGE_UNKNOWN",),
    ("PATIENT_AGE_UNREADABLE",),
)
AGES = [
    Condition(name=f"age {age!r}", source=source, build=instance(PatientAge=age), warned=warned)
    for age, source, warned in [
        (b"003Y", "PS3.5 6.2, AS", ()),
        (b" 61Y", "PS3.5 6.2, AS: three digits; padded with a blank", OUTSIDE),
        (b"061 Y ", "PS3.5 6.2, AS: no blank within", OUTSIDE),
        (b"3y", "PS3.5 6.2, AS: capitals", ()),
        (b"18M ", "PS3.5 6.2, AS: three digits", ()),
        (b"81", "no unit, so days or years (datalad/example-dicom-structural issue 2)", UNREAD),
        (b"61 years", "PS3.5 6.2, AS: a letter for the unit", UNREAD),
        (b"Y061", "PS3.5 6.2, AS: the unit comes last", UNREAD),
        (b"    ", "PS3.5 6.2: nothing but padding", UNKNOWN),
    ]
] + [
    Condition(
        name=f"born {birth!r}",
        source=source,
        build=instance(**BIRTH, PatientBirthDate=birth),
        warned=warned,
    )
    for birth, source, warned in [
        (b"20230102", "PS3.5 6.2, DA", ()),
        (b"1945.03.02", "PS3.5 6.2, DA: the form of ACR-NEMA", OUTSIDE),
        (b"2023-01-02", "ISO 8601", ()),
        (b"2023/01/02", "a gateway's own form: the year first", ()),
        (b"25.03.2023", "a gateway's own form: no month has the number 25", ()),
        (b"03.25.2023", "a gateway's own form: no month has the number 25", ()),
        (b"03.03.2023", "a gateway's own form: the same day in both orders", ()),
        (b"02.03.2023", "a gateway's own form: day and month may be either", UNREAD),
        (b"20230230", "PS3.5 6.2, DA: no such day", UNREAD),
        (b"2023.01-02", "two separators", UNREAD),
        (b"1945", "the year alone", UNREAD),
        (b"20270101", "born after the study", UNREAD),
    ]
] + [
    Condition(
        name="an age without a unit beside a birth date",
        source="PS3.3 C.7.1.1: the date says the same without a guess",
        build=instance(PatientAge=b"3 ", PatientBirthDate="20230101"),
    ),
]  # fmt: skip

C_7_6_1 = "PS3.3 C.7.6.1.1.1: detectors that look from behind, cassettes put in otherwise"
ORIENTATIONS = [
    Condition(
        name=f"stored as {orientation}",
        source=C_7_6_1,
        build=lambda orientation=orientation, store=store: make_instance(
            pixels=store(GREY), window=(2048, 4096), PatientOrientation=orientation.split("\\")
        ),
        record={"patient_orientation": orientation, "reorientation": steps},
    )
    for orientation, steps, store in [
        ("L\\F", None, lambda a: a),
        ("R\\F", "mirrored", np.fliplr),
        ("L\\H", "upended", np.flipud),
        ("R\\H", "mirrored, upended", lambda a: np.rot90(a, 2)),
        ("F\\L", "transposed", np.transpose),
        # Rotated a quarter: what ran down runs to the left of the picture, and so on.
        ("H\\L", "transposed, upended", lambda a: np.rot90(a, -1)),
        ("F\\R", "transposed, mirrored", lambda a: np.rot90(a, 1)),
        ("H\\R", "transposed, mirrored, upended", lambda a: np.rot90(a, 2).T),
        ("RH\\FR", "mirrored", np.fliplr),
    ]
] + [
    Condition(
        name=f"orientation {value!r}",
        source=C_7_6_1,
        build=instance(PatientOrientation=value),
        refused=code,
        words="(0020,0020) Patient Orientation: found",
    )
    for value, code in [
        (b"A\\F ", "ORIENTATION_NOT_FRONTAL"),
        (b"L\\R ", "ORIENTATION_NOT_FRONTAL"),
        (b"LEFT\\FOOT ", "ELEMENT_UNREADABLE"),
        (b"L ", "ELEMENT_UNREADABLE"),
        (b"LE\\V", "ELEMENT_UNREADABLE"),
    ]
]  # fmt: skip


def code(value: str, meaning: str, scheme: str = "SCT") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


VET = "PS3.3 C.7.1.1: veterinary practices, whose archives are also hospitals'"
NOT_OUR_PATIENTS = [
    Condition(
        name=name,
        source=source,
        build=instance(**elements),
        refused=refused,
        words="found" if refused else "",
        warned=warned,
    )
    for name, source, elements, refused, warned in [
        (
            "a dog by its species",
            VET,
            {"PatientSpeciesDescription": "Canis lupus familiaris"},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "a dog by the code of its species",
            VET,
            {"PatientSpeciesCodeSequence": code("448771007", "Canis lupus familiaris")},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "a cat by a code of SNOMED RT",
            VET,
            {"PatientSpeciesCodeSequence": code("L-80A00", "Felis catus", "SRT")},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "an owner",
            VET,
            {"ResponsiblePerson": "DOE^JANE", "ResponsiblePersonRole": "OWNER"},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "a breed",
            VET,
            {"PatientBreedDescription": "Border Collie"},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        ("a neutered patient", VET, {"PatientSexNeutered": "ALTERED"}, "PATIENT_NOT_HUMAN", ()),
        (
            "a quadruped",
            VET,
            {"AnatomicalOrientationType": "quadruped"},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "a laboratory mouse",
            "PS3.3 C.7.1.4",
            {"StrainDescription": "C57BL/6J"},
            "PATIENT_NOT_HUMAN",
            (),
        ),
        (
            "a person by the species",
            "PS3.3 C.7.1.1: gateways that fill every element",
            {
                "PatientSpeciesDescription": "homo sapiens",
                "PatientSpeciesCodeSequence": code("337915000", "homo sapiens"),
                "PatientBreedDescription": "",
                "AnatomicalOrientationType": "BIPED",
            },
            None,
            (),
        ),
        (
            "a person by a code of SNOMED RT",
            "PS3.16 CID 7454, as it was",
            {"PatientSpeciesCodeSequence": code("L-85B00", "Homo sapiens", "SRT")},
            None,
            (),
        ),
        (
            "a child with a parent",
            "PS3.3 C.7.1.1.1.2",
            {"ResponsiblePersonRole": "PARENT"},
            None,
            (),
        ),
        (
            "a role of a site's own",
            "PS3.3 C.7.1.1.1.2: a term that is not defined",
            {"ResponsiblePersonRole": "MOTHER"},
            None,
            ("ELEMENT_UNREADABLE",),
        ),
        (
            "a phantom by its own element",
            "PS3.3 C.7.6.1: daily constancy tests",
            {"QualityControlImage": "YES"},
            "QUALITY_CONTROL_IMAGE",
            (),
        ),
        (
            "a phantom beside a patient",
            "PS3.3 C.7.6.1",
            {"QualityControlImage": "BOTH"},
            "QUALITY_CONTROL_IMAGE",
            (),
        ),
        (
            "a patient by the same element",
            "PS3.3 C.7.6.1",
            {"QualityControlImage": "NO"},
            None,
            (),
        ),
        (
            "a test pattern by its image type",
            "PS3.3 C.7.6.1.1.2: values of a maker's own",
            {"ImageType": ["ORIGINAL", "PRIMARY", "", "TEST_PATTERN"]},
            "QUALITY_CONTROL_IMAGE",
            (),
        ),
        (
            "a quality image by its image type",
            "PS3.3 C.7.6.1.1.2: values of a maker's own",
            {"ImageType": ["DERIVED", "PRIMARY", "QA"]},
            "QUALITY_CONTROL_IMAGE",
            (),
        ),
        (
            "an image type with a word like them",
            "PS3.3 C.7.6.1.1.2: values of a maker's own",
            {"ImageType": ["DERIVED", "PRIMARY", "CONTEST", "QA_PASSED"]},
            None,
            (),
        ),
        (
            "a name that says test",
            "training systems; names and ids are no evidence",
            {"patient_name": "TEST^PHANTOM", "patient_id": "QA-1"},
            None,
            (),
        ),
        (
            "a specimen",
            "PS3.3 C.7.6.22",
            {"SpecimenDescriptionSequence": [Dataset()]},
            None,
            ("SPECIMEN",),
        ),
        (
            "a date of death",
            "PS3.3 C.7.1.1",
            {"PatientDeathDateInAlternativeCalendar": "2569"},
            None,
            ("POST_MORTEM",),
        ),
        (
            "a post-mortem by its description",
            "departments of forensic medicine",
            {"StudyDescription": "Post-mortem thorax"},
            None,
            ("POST_MORTEM",),
        ),
    ]
]

WITHOUT_VIEW = {"view_position": None}
DESCRIPTIONS = [
    Condition(
        name=f"no view beside {keyword} {said!r}",
        source="PS3.3 C.8.1.1: View Position may be empty; consoles whose protocols have names",
        build=instance(**WITHOUT_VIEW, **{keyword: said}),
        warned=("DESCRIBED_AS_LATERAL",),
        words="a description names a lateral one",
    )
    for keyword, said in [
        ("SeriesDescription", "Chest LAT"),
        ("SeriesDescription", "Thorax seitlich"),
        ("ProtocolName", "Thorax_lat"),
        ("ProtocolName", "THORAX DE PROFIL"),
        ("SeriesDescription", "胸部側面"),
        ("ProtocolName", "Грудная клетка боковая"),
    ]
] + [
    Condition(
        name="no view beside a description of another kind",
        source="words that only contain such a word",
        build=instance(**WITHOUT_VIEW, SeriesDescription="Bilateral plate late"),
        warned=("VIEW_UNKNOWN",),
    ),
    Condition(
        name="a frontal view beside a lateral description",
        source="a series of both views: the element of the image wins",
        build=instance(SeriesDescription="Chest PA and LAT"),
    ),
    Condition(
        name="no orientation",
        source=C_7_6_1,
        build=instance(PatientOrientation=None),
        warned=("PATIENT_ORIENTATION_UNKNOWN",),
    ),
]  # fmt: skip


def of_another_syntax(made: str, named: str, content: bytes | None = None) -> Callable[[], Dataset]:
    """A builder of pixels made in one transfer syntax in a file that names another."""

    def build() -> Dataset:
        dataset = instance(transfer_syntax=made)()
        dataset.file_meta.TransferSyntaxUID = UID(named)
        if content is not None:
            dataset.PixelData = content
        dataset["PixelData"].is_undefined_length = UID(named).is_encapsulated
        return dataset

    return build


GATEWAY = "PS3.5 annex A: gateways that compress, or unpack, and keep the old transfer syntax"
STREAM = encode_frame(GREY, JPEG2000Lossless, bits=12)
SYNTAXES = [
    Condition(
        name=name,
        source=GATEWAY,
        build=build,
        refused="TRANSFER_SYNTAX_MISMATCH",
        words=words,
    )
    for name, build, words in [
        (
            "JPEG 2000 fragments under an uncompressed syntax",
            of_another_syntax(JPEG2000Lossless, ExplicitVRLittleEndian),
            "found fragments of a compressed stream in (7FE0,0010) Pixel Data; expected uncompressed",
        ),
        (
            "a bare JPEG 2000 stream under an uncompressed syntax",
            of_another_syntax(
                ExplicitVRLittleEndian, ExplicitVRLittleEndian, STREAM + b"\0" * (len(STREAM) % 2)
            ),
            "found a JPEG 2000 stream in (7FE0,0010) Pixel Data; expected uncompressed values",
        ),
        (
            "JPEG-LS under JPEG 2000",
            of_another_syntax(JPEGLSLossless, JPEG2000Lossless),
            "found a JPEG-LS stream in (7FE0,0010) Pixel Data; expected a stream of JPEG 2000",
        ),
        (
            "JPEG under JPEG-LS",
            of_another_syntax(JPEGLosslessSV1, JPEGLSLossless),
            "found a JPEG stream in",
        ),
        (
            "JPEG 2000 under RLE",
            of_another_syntax(JPEG2000Lossless, RLELossless),
            "expected a stream of RLE, as the transfer syntax says. Its source must name",
        ),
    ]
]


def archive(write: Callable[[io.BytesIO, bytes], None]) -> Callable[[], bytes]:
    def build() -> bytes:
        packed = io.BytesIO()
        write(packed, file_of(instance()()))
        return packed.getvalue()

    return build


def zipped(name: str) -> Callable[[io.BytesIO, bytes], None]:
    def write(packed: io.BytesIO, image: bytes) -> None:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(name, image)

    return write


def tarred(packed: io.BytesIO, image: bytes) -> None:
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("image.dcm")
        member.size = len(image)
        archive.addfile(member, io.BytesIO(image))


MEDIA = "portals and media that hand out studies packed"
FILES = [
    Condition(name=name, source=MEDIA, build=build, refused=refused, words=words)
    for name, build, refused, words in [
        (
            "a zip of images",
            archive(zipped("image.dcm")),
            "ARCHIVE_NOT_UNPACKED",
            "The file: found a ZIP archive; expected a DICOM file (PS3.10). Unpack it, and give",
        ),
        ("a tar of images", archive(tarred), "ARCHIVE_NOT_UNPACKED", "found a tar archive"),
        (
            "a gzipped image",
            lambda: gzip.compress(file_of(instance()())),
            "ARCHIVE_NOT_UNPACKED",
            "found a gzip archive",
        ),
        (
            "a viewer written in Java",
            archive(zipped("META-INF/MANIFEST.MF")),
            "NOT_DICOM",
            "found a Java archive",
        ),
        ("a bare JPEG 2000 stream", lambda: STREAM, "NOT_DICOM", "found a JPEG 2000 stream"),
        (
            "a report in PDF",
            lambda: b"%PDF-1.7\n" + b"x" * 200,
            "NOT_DICOM",
            "found a PDF file; expected a DICOM file (PS3.10). Only DICOM instances",
        ),
        ("an empty file", lambda: b"", "NOT_DICOM", "found neither a DICOM preamble nor"),
    ]
]

CONDITIONS = [
    *SYNTAXES,
    *FILES,
    *NOT_OUR_PATIENTS,
    *DESCRIPTIONS,
    *NUMBERS,
    *ELEMENTS,
    *AGES,
    *ORIENTATIONS,
]
PLAIN = outcome_of(instance()()).pixels


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)
def test_what_is_right(condition: Condition) -> None:
    outcome = outcome_of(condition.build())

    assert outcome.refused == condition.refused, outcome.sentences
    assert outcome.warned == condition.warned
    assert condition.words in " ".join(outcome.sentences)
    if outcome.record is not None:
        record = outcome.record.to_dict()
        assert {key: record[key] for key in condition.record} == condition.record
        np.testing.assert_array_equal(outcome.pixels, condition.shown(PLAIN))


def test_no_two_conditions_share_a_name() -> None:
    assert len({condition.name for condition in CONDITIONS}) == len(CONDITIONS)
