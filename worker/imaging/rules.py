"""Reasons to refuse, as a table: what a header has to say to be a frontal chest radiograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.imaging import lexicon, orientation, vocabulary
from worker.imaging.decoders import DECODERS
from worker.imaging.header import InstanceHeader, PixelSize
from worker.imaging.policy import EligibilityPolicy, MultiFrame
from worker.imaging.refusals import Refusal, Step
from worker.imaging.subject import HUMAN
from worker.imaging.unreadable import (
    ELEMENT_ADVICE,
    ELEMENT_UNREADABLE,
    UNREADABLE_VALUE,
    element_name,
)

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_X_RAY_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_X_RAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_SOP_CLASSES = {COMPUTED_RADIOGRAPHY, DIGITAL_X_RAY_FOR_PRESENTATION, SECONDARY_CAPTURE}
_PEOPLE_ONLY = "The model knows people only."
SQUARE_WITHIN = 0.02
"""Height and width of a pixel may differ by so much: detectors round theirs, and nobody sees it."""
_RADIOGRAPHY = {"CR", "DX"}
FRONTAL_CODES = {"AP", "PA", "FRONTAL"}
_MONOCHROME = {"MONOCHROME1", "MONOCHROME2"}
_TWO_NUMBERS = "height and width of a pixel as two numbers above 0"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One reason to refuse."""

    code: str
    """Stable, UPPER_SNAKE: what analysts count."""
    tag: str
    """The element it looks at."""
    expected: str
    """What passes, in words."""
    passes: Callable[[InstanceHeader, EligibilityPolicy], bool]
    """Whether the header is in order."""
    found: Callable[[InstanceHeader], str]
    """The value as it may be quoted."""
    advice: str
    """What it means or what to do."""

    def refusal(self, header: InstanceHeader) -> Refusal:
        """The refusal of a header that does not pass."""
        found = self.found(header)
        return Refusal(
            code=self.code,
            tag=self.tag,
            found=found,
            expected=self.expected,
            sentence=f"{self.tag}: found {found}; expected {self.expected}. {self.advice}",
            step=Step.ELIGIBILITY,
        )


def _value(name: str) -> Callable[[InstanceHeader], str]:
    """A reader of a header field as words: a number, a term (reading saw to that) or absence."""

    def read(header: InstanceHeader) -> str:
        value = getattr(header, name)
        if value is None and keyword in header.unreadable:
            return UNREADABLE_VALUE
        return vocabulary.ABSENT if value is None else str(value)

    keyword = _keyword(name)
    return read


def _keyword(name: str) -> str:
    """The keyword of a field that is named after one: "high_bit" -> "HighBit"."""
    return name.title().replace("_", "")


def _is_chest(header: InstanceHeader) -> bool:
    part = header.body_part_examined
    if part is None or lexicon.says_chest(part):
        return True
    # A code comes before a word that nobody knows; a word that is known contradicts it.
    return header.anatomic_region == "CHEST" and not lexicon.is_known(part)


def _is_frontal(header: InstanceHeader) -> bool:
    view = header.view_position
    if view is None or lexicon.says_frontal(view):
        return True
    return header.view_code in FRONTAL_CODES and not lexicon.is_known(view)


def _runs_as_a_frontal_view(header: InstanceHeader) -> bool:
    """PS3.3 C.7.6.1.1.1: a frontal view has left and right one way, head and feet the other."""
    return header.patient_orientation is None or orientation.is_frontal(header.patient_orientation)


def _fits(name: str) -> Callable[[InstanceHeader, EligibilityPolicy], bool]:
    def passes(header: InstanceHeader, policy: EligibilityPolicy) -> bool:
        return policy.min_side <= (getattr(header, name) or 0) <= policy.max_side

    return passes


def _not_square(header: InstanceHeader) -> list[PixelSize]:
    return [p for p in header.pixel_sizes if abs(p.height / p.width - 1) > SQUARE_WITHIN]


def _bits_make_sense(header: InstanceHeader) -> bool:
    allocated, stored, high = header.bits_allocated, header.bits_stored, header.high_bit
    if allocated not in (8, 16) or stored is None or high is None:
        return False
    return 8 <= stored <= allocated and stored - 1 <= high < allocated


def _bits(header: InstanceHeader) -> str:
    return ", ".join(_value(name)(header) for name in ("bits_allocated", "bits_stored", "high_bit"))


def _is_for_processing(header: InstanceHeader) -> bool:
    return (
        header.presentation_intent_type == "FOR PROCESSING"
        or header.sop_class_uid == DIGITAL_X_RAY_FOR_PROCESSING
    )


DECIDING = {
    "PresentationIntentType": "FOR PRESENTATION or FOR PROCESSING",
    "BodyPartExamined": "a body part as text",
    "AnatomicRegionSequence": "a sequence of codes",
    "ViewPosition": "a view as text",
    "ViewCodeSequence": "a sequence of codes",
    "PatientOrientation": orientation.EXPECTED,
    "PixelAspectRatio": _TWO_NUMBERS,
    "ImagerPixelSpacing": _TWO_NUMBERS,
    "PixelSpacing": _TWO_NUMBERS,
    "NominalScannedPixelSpacing": _TWO_NUMBERS,
    "BurnedInAnnotation": "YES or NO",
    "PatientSpeciesDescription": HUMAN,
    "PatientSpeciesCodeSequence": "a sequence of codes",
    "AnatomicalOrientationType": "BIPED",
    "QualityControlImage": "NO",
    "ImageType": "code strings",
}
"""Elements that may be absent and decide where they are there -> what is expected then. Those that must
be there have a rule of their own, which tells absent from unreadable."""


def _readable(keyword: str, expected: str) -> Rule:
    """The rule that an element which decides is not taken for absent when it cannot be read."""
    return Rule(
        code=ELEMENT_UNREADABLE,
        tag=element_name(keyword),
        expected=f"{expected}, or no value",
        passes=lambda h, _: keyword not in h.unreadable,
        found=lambda _: UNREADABLE_VALUE,
        advice=ELEMENT_ADVICE,
    )


RULES: tuple[Rule, ...] = (
    Rule(
        code="SOP_CLASS_NOT_ELIGIBLE",
        tag="(0008,0016) SOP Class UID",
        expected="Computed Radiography, Digital X-Ray for presentation or Secondary Capture",
        # FOR PROCESSING has a rule of its own: two reasons for one fact would be counted twice.
        passes=lambda h, _: h.sop_class_uid in _SOP_CLASSES | {DIGITAL_X_RAY_FOR_PROCESSING},
        found=lambda h: vocabulary.uid_name(h.sop_class_uid, "SOP class"),
        advice="Only plain radiographs are predicted.",
    ),
    Rule(
        code="FOR_PROCESSING",
        tag="(0008,0068) Presentation Intent Type",
        expected="FOR PRESENTATION",
        passes=lambda h, _: not _is_for_processing(h),
        found=lambda _: "FOR PROCESSING",
        advice="Raw detector values are no picture; send the processed image.",
    ),
    Rule(
        code="MODALITY_NOT_ELIGIBLE",
        tag="(0008,0060) Modality",
        expected="CR or DX",
        passes=lambda h, _: h.modality in _RADIOGRAPHY,
        found=_value("modality"),
        advice="Only plain radiographs are predicted.",
    ),
    Rule(
        code="PATIENT_NOT_HUMAN",
        tag="(0010,2201) Patient Species Description",
        expected=f"{HUMAN}, or no value",
        passes=lambda h, _: h.subject.species in {None, HUMAN},
        found=lambda h: str(h.subject.species),
        advice=_PEOPLE_ONLY,
    ),
    Rule(
        code="PATIENT_NOT_HUMAN",
        tag="(0010,2202) Patient Species Code Sequence",
        expected=f"the code of {HUMAN}, or none",
        passes=lambda h, _: h.subject.species_code in {None, HUMAN},
        found=lambda h: f"the code of {h.subject.species_code}",
        advice=_PEOPLE_ONLY,
    ),
    Rule(
        code="PATIENT_NOT_HUMAN",
        tag=(
            "(0010,2292) Patient Breed Description and what else is said of animals: breed, strain, "
            "genetic modification, neutered"
        ),
        expected=f"no value, or {HUMAN} as the species",
        passes=lambda h, _: not h.subject.breeding or h.subject.is_said_to_be_human,
        found=lambda h: f"a value in {', '.join(map(element_name, h.subject.breeding))}",
        advice=_PEOPLE_ONLY,
    ),
    Rule(
        code="PATIENT_NOT_HUMAN",
        tag="(0010,2210) Anatomical Orientation Type",
        expected="BIPED, or no value",
        passes=lambda h, _: h.subject.anatomical_orientation_type in {None, "BIPED"},
        found=lambda h: str(h.subject.anatomical_orientation_type),
        advice=_PEOPLE_ONLY,
    ),
    Rule(
        code="PATIENT_NOT_HUMAN",
        tag="(0010,2298) Responsible Person Role",
        expected="the role of a person who answers for a person, or no value",
        passes=lambda h, _: h.subject.responsible_person_role not in {"OWNER", "VETERINARIAN"},
        found=lambda h: str(h.subject.responsible_person_role),
        advice=_PEOPLE_ONLY,
    ),
    Rule(
        code="QUALITY_CONTROL_IMAGE",
        tag="(0028,0300) Quality Control Image",
        expected="NO, or no value",
        passes=lambda h, _: h.subject.quality_control_image in {None, "NO"},
        found=lambda h: str(h.subject.quality_control_image),
        advice="A phantom in the picture is no patient.",
    ),
    Rule(
        code="QUALITY_CONTROL_IMAGE",
        tag="(0008,0008) Image Type",
        expected="values that do not say test, phantom or quality control",
        passes=lambda h, _: h.subject.test_image_type is None,
        found=lambda h: str(h.subject.test_image_type),
        advice="A phantom in the picture is no patient.",
    ),
    Rule(
        code="BODY_PART_NOT_CHEST",
        tag="(0018,0015) Body Part Examined",
        expected="CHEST, THORAX or LUNG in any language, or no value",
        passes=lambda h, _: _is_chest(h),
        found=_value("body_part_examined"),
        advice="The model knows chests only; words of the site belong into PNEUMO_VOCABULARY.",
    ),
    Rule(
        code="ANATOMIC_REGION_NOT_CHEST",
        tag="(0008,2218) Anatomic Region Sequence",
        expected="the code of chest, thorax or lung, or none",
        passes=lambda h, _: h.anatomic_region != "NOT CHEST",
        found=lambda _: "the code of another region",
        advice="The model knows chests only.",
    ),
    Rule(
        code="VIEW_NOT_FRONTAL",
        tag="(0018,5101) View Position",
        expected="PA or AP, or no value",
        passes=lambda h, _: _is_frontal(h),
        found=_value("view_position"),
        advice="The model knows frontal views only; words of the site belong into PNEUMO_VOCABULARY.",
    ),
    Rule(
        code="VIEW_CODE_NOT_FRONTAL",
        tag="(0054,0220) View Code Sequence",
        expected="the code of a frontal view, or none",
        passes=lambda h, _: h.view_code in {None, *FRONTAL_CODES},
        found=lambda h: (
            f"the code of {'a lateral' if h.view_code == 'LATERAL' else 'another'} view"
        ),
        advice="The model knows frontal views only.",
    ),
    Rule(
        code="ORIENTATION_NOT_FRONTAL",
        tag="(0020,0020) Patient Orientation",
        expected="rows that run left or right and columns that run to head or foot, or the reverse",
        passes=lambda h, _: _runs_as_a_frontal_view(h),
        found=_value("patient_orientation"),
        advice="It contradicts a frontal view; what runs to anterior or posterior is a lateral one.",
    ),
    Rule(
        code="PHOTOMETRIC_NOT_MONOCHROME",
        tag="(0028,0004) Photometric Interpretation",
        expected="MONOCHROME1 or MONOCHROME2",
        passes=lambda h, _: h.photometric_interpretation in _MONOCHROME,
        found=_value("photometric_interpretation"),
        advice="A radiograph is grey.",
    ),
    Rule(
        code="SAMPLES_PER_PIXEL_NOT_ONE",
        tag="(0028,0002) Samples per Pixel",
        expected="1",
        passes=lambda h, _: h.samples_per_pixel == 1,
        found=_value("samples_per_pixel"),
        advice="A radiograph is grey.",
    ),
    Rule(
        code="BITS_NOT_SUPPORTED",
        tag="(0028,0100) Bits Allocated, (0028,0101) Bits Stored, (0028,0102) High Bit",
        expected="8 or 16 allocated, 8 or more of them stored, and a high bit within",
        passes=lambda h, _: _bits_make_sense(h),
        found=_bits,
        advice="The pixels cannot be read with such a header.",
    ),
    Rule(
        code="PIXEL_REPRESENTATION_INVALID",
        tag="(0028,0103) Pixel Representation",
        expected="0 or 1",
        passes=lambda h, _: h.pixel_representation in {0, 1},
        found=_value("pixel_representation"),
        advice="The pixels cannot be read with such a header.",
    ),
    Rule(
        code="ROWS_OUT_OF_RANGE",
        tag="(0028,0010) Rows",
        expected="a full-size radiograph",
        passes=_fits("rows"),
        found=_value("rows"),
        advice="Thumbnails and stitched images are not predicted.",
    ),
    Rule(
        code="COLUMNS_OUT_OF_RANGE",
        tag="(0028,0011) Columns",
        expected="a full-size radiograph",
        passes=_fits("columns"),
        found=_value("columns"),
        advice="Thumbnails and stitched images are not predicted.",
    ),
    Rule(
        code="PIXELS_NOT_SQUARE",
        tag=(
            "(0028,0034) Pixel Aspect Ratio, (0018,1164) Imager Pixel Spacing, (0028,0030) Pixel "
            "Spacing, (0018,2010) Nominal Scanned Pixel Spacing"
        ),
        expected="1\\1, or the same spacing of rows and columns within 2 %",
        passes=lambda h, _: not _not_square(h),
        found=lambda h: ", ".join(map(str, _not_square(h))),
        # Resampling would make a picture such as no model was trained on.
        advice="The picture would be read squeezed; send it with square pixels.",
    ),
    Rule(
        code="MULTI_FRAME",
        tag="(0028,0008) Number of Frames",
        expected="1",
        passes=lambda h, p: h.number_of_frames == 1 or p.multi_frame is not MultiFrame.REFUSE,
        found=_value("number_of_frames"),
        advice="A radiograph has one frame; send the one that is meant.",
    ),
    Rule(
        code="BURNED_IN_ANNOTATION",
        tag="(0028,0301) Burned In Annotation",
        expected="NO, or no value",
        passes=lambda h, _: h.burned_in_annotation in {None, "NO"},
        found=_value("burned_in_annotation"),
        advice="Text in the pixels may identify the patient and misleads the model.",
    ),
    Rule(
        code="TRANSFER_SYNTAX_WITHOUT_DECODER",
        tag="(0002,0010) Transfer Syntax UID",
        expected="a transfer syntax with a decoder",
        passes=lambda h, _: h.transfer_syntax_uid in DECODERS,
        found=lambda h: vocabulary.uid_name(h.transfer_syntax_uid, "transfer syntax"),
        advice="Send it uncompressed or in a lossless JPEG encoding.",
    ),
    *(_readable(keyword, expected) for keyword, expected in DECIDING.items()),
)
"""Every reason to refuse, in the order in which they are told."""
