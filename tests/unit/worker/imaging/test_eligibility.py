"""One row per rule: what a header says, and the words of the refusal."""

from __future__ import annotations

import dataclasses

import pytest

from worker.imaging.decoders import DECODERS
from worker.imaging.eligibility import RULES, EligibilityPolicy, MultiFrame, check_eligibility
from worker.imaging.header import InstanceHeader, PixelSize
from worker.imaging.refusals import Step
from worker.imaging.rules import DECIDING
from worker.imaging.subject import HUMAN, Subject
from worker.imaging.unreadable import element_name

CR, DX, DX_PROCESSING, SC = (
    f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("1", "1.1", "1.1.1", "7")
)
CHEST = InstanceHeader(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.4",
    sop_instance_uid="1.2.3.4.5",
    sop_class_uid=CR,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    patient_age_years=3.0,
    modality="CR",
    body_part_examined="CHEST",
    view_position="PA",
    patient_orientation="L\\F",
    photometric_interpretation="MONOCHROME1",
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=0,
    rows=2000,
    columns=2000,
)


def chest(**changes: object) -> InstanceHeader:
    return dataclasses.replace(CHEST, **changes)


def sized(height: float, width: float, element: str = "Imager Pixel Spacing") -> PixelSize:
    return PixelSize(element=element, height=height, width=width)


ELIGIBLE = [
    {},
    {"sop_class_uid": DX, "modality": "DX", "presentation_intent_type": "FOR PRESENTATION"},
    {"sop_class_uid": SC},
    {"sop_class_uid": SC, "modality": "DX"},
    {"body_part_examined": None},
    {"body_part_examined": "THORAX"},
    {"body_part_examined": "LUNG"},
    {"body_part_examined": "CHEST, PA"},
    {"body_part_examined": "PORT CHEST"},
    {"body_part_examined": "CHEST 2 VIEWS"},
    {"view_position": None},
    {"view_position": "AP"},
    {"view_position": "AP SUPINE"},
    {"view_code": "PA"},
    {"anatomic_region": "CHEST"},
    *(
        {"patient_orientation": orientation}
        for orientation in (
            "L\\F",
            "R\\F",
            "L\\H",
            "R\\H",
            "F\\L",
            "H\\L",
            "F\\R",
            "H\\R",
            "LF\\FR",
        )
    ),
    {"unreadable": frozenset({"PatientID"})},
    {"subject": Subject(species=HUMAN, species_code=HUMAN, breeding=("PatientSexNeutered",))},
    {"subject": Subject(responsible_person_role="PARENT", quality_control_image="NO")},
    {"photometric_interpretation": "MONOCHROME2"},
    {"bits_allocated": 8, "bits_stored": 8, "high_bit": 7},
    {"bits_stored": 16, "high_bit": 15},
    {"high_bit": 15},
    {"pixel_representation": 1},
    {"burned_in_annotation": "NO"},
    {"pixel_sizes": (sized(1, 1, "Pixel Aspect Ratio"), sized(0.143, 0.143))},
    {"pixel_sizes": (sized(0.1981, 0.2),)},
    {"pixel_sizes": (sized(0.2, 0.1981),)},
    *({"transfer_syntax_uid": uid} for uid in DECODERS),
]


@pytest.mark.parametrize("changes", ELIGIBLE, ids=str)
def test_eligible(changes: dict) -> None:
    judgement = check_eligibility(chest(**changes))

    assert judgement.refusals == ()
    assert judgement.eligible
    assert judgement.frame_numbers == (1,)


REFUSED = [
    (
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.6.1"},
        "SOP_CLASS_NOT_ELIGIBLE",
        "(0008,0016) SOP Class UID: found Ultrasound Image Storage; expected Computed Radiography",
    ),
    (
        {"sop_class_uid": "1.2.3.999"},
        "SOP_CLASS_NOT_ELIGIBLE",
        "found an unregistered SOP class; expected",
    ),
    ({"sop_class_uid": DX_PROCESSING}, "FOR_PROCESSING", "found FOR PROCESSING"),
    (
        {"presentation_intent_type": "FOR PROCESSING"},
        "FOR_PROCESSING",
        "(0008,0068) Presentation Intent Type: found FOR PROCESSING; expected FOR PRESENTATION",
    ),
    (
        {"sop_class_uid": SC, "modality": "OT"},
        "MODALITY_NOT_ELIGIBLE",
        "(0008,0060) Modality: found OT; expected CR or DX",
    ),
    ({"modality": None}, "MODALITY_NOT_ELIGIBLE", "found no value"),
    (
        {"body_part_examined": "EXTREMITY"},
        "BODY_PART_NOT_CHEST",
        "(0018,0015) Body Part Examined: found EXTREMITY; expected CHEST",
    ),
    ({"body_part_examined": "CHEST ABDOMEN"}, "BODY_PART_NOT_CHEST", "found CHEST ABDOMEN"),
    ({"body_part_examined": "CHEST LATERAL"}, "BODY_PART_NOT_CHEST", "found CHEST LATERAL"),
    (
        {"anatomic_region": "NOT CHEST"},
        "ANATOMIC_REGION_NOT_CHEST",
        "(0008,2218) Anatomic Region Sequence: found the code of another region",
    ),
    *(
        (
            {"view_position": view},
            "VIEW_NOT_FRONTAL",
            f"(0018,5101) View Position: found {view}; expected PA or AP",
        )
        for view in ("LL", "RL", "LATERAL", "LLD", "RLD", "LLO", "RLO", "AP OBLIQUE", "LORDOTIC AP")
    ),
    (
        {"view_position": None, "view_code": "LATERAL"},
        "VIEW_CODE_NOT_FRONTAL",
        "(0054,0220) View Code Sequence: found the code of a lateral view",
    ),
    ({"view_code": "OTHER"}, "VIEW_CODE_NOT_FRONTAL", "found the code of another view"),
    (
        {"view_position": None, "patient_orientation": "A\\F"},
        "ORIENTATION_NOT_FRONTAL",
        "(0020,0020) Patient Orientation: found A\\F; expected",
    ),
    (
        {"photometric_interpretation": "PALETTE COLOR"},
        "PHOTOMETRIC_NOT_MONOCHROME",
        "(0028,0004) Photometric Interpretation: found PALETTE COLOR; expected MONOCHROME1 or",
    ),
    (
        {"samples_per_pixel": 3},
        "SAMPLES_PER_PIXEL_NOT_ONE",
        "(0028,0002) Samples per Pixel: found 3; expected 1",
    ),
    (
        {"bits_allocated": 32, "bits_stored": 32, "high_bit": 31},
        "BITS_NOT_SUPPORTED",
        "found 32, 32, 31; expected 8 or 16 allocated",
    ),
    ({"bits_stored": 7, "high_bit": 6}, "BITS_NOT_SUPPORTED", "found 16, 7, 6"),
    ({"bits_stored": None}, "BITS_NOT_SUPPORTED", "found 16, no value, 11"),
    ({"high_bit": 10}, "BITS_NOT_SUPPORTED", "found 16, 12, 10"),
    (
        {"pixel_representation": 2},
        "PIXEL_REPRESENTATION_INVALID",
        "(0028,0103) Pixel Representation: found 2; expected 0 or 1",
    ),
    ({"rows": 64}, "ROWS_OUT_OF_RANGE", "(0028,0010) Rows: found 64; expected a full-size"),
    ({"rows": None}, "ROWS_OUT_OF_RANGE", "found no value"),
    ({"columns": 60000}, "COLUMNS_OUT_OF_RANGE", "(0028,0011) Columns: found 60000"),
    (
        {"pixel_sizes": (sized(1, 2, "Pixel Aspect Ratio"),)},
        "PIXELS_NOT_SQUARE",
        "found Pixel Aspect Ratio 1\\2; expected 1\\1, or the same spacing",
    ),
    (
        {"pixel_sizes": (sized(1, 1, "Pixel Aspect Ratio"), sized(0.2, 0.143))},
        "PIXELS_NOT_SQUARE",
        "(0018,2010) Nominal Scanned Pixel Spacing: found Imager Pixel Spacing 0.2\\0.143; expected",
    ),
    (
        {"pixel_sizes": (sized(0.2, 0.1955), sized(5, 4, "Pixel Spacing"))},
        "PIXELS_NOT_SQUARE",
        "found Imager Pixel Spacing 0.2\\0.1955, Pixel Spacing 5\\4; expected",
    ),
    (
        {"number_of_frames": 12},
        "MULTI_FRAME",
        "(0028,0008) Number of Frames: found 12; expected 1",
    ),
    (
        {"burned_in_annotation": "YES"},
        "BURNED_IN_ANNOTATION",
        "(0028,0301) Burned In Annotation: found YES; expected NO",
    ),
    (
        {"transfer_syntax_uid": "1.2.840.10008.1.2.4.100"},
        "TRANSFER_SYNTAX_WITHOUT_DECODER",
        "(0002,0010) Transfer Syntax UID: found MPEG2 Main Profile",
    ),
    *(
        ({"subject": Subject(**said)}, code, words)
        for said, code, words in [
            (
                {"species": "another species"},
                "PATIENT_NOT_HUMAN",
                "(0010,2201) Patient Species Description: found another species; expected Homo sapiens",
            ),
            (
                {"species_code": "another species"},
                "PATIENT_NOT_HUMAN",
                "(0010,2202) Patient Species Code Sequence: found the code of another species",
            ),
            (
                {"breeding": ("PatientBreedDescription", "PatientSexNeutered")},
                "PATIENT_NOT_HUMAN",
                "found a value in (0010,2292) Patient Breed Description, (0010,2203) Patient's Sex",
            ),
            (
                {"anatomical_orientation_type": "QUADRUPED"},
                "PATIENT_NOT_HUMAN",
                "(0010,2210) Anatomical Orientation Type: found QUADRUPED; expected BIPED",
            ),
            (
                {"responsible_person_role": "OWNER"},
                "PATIENT_NOT_HUMAN",
                "(0010,2298) Responsible Person Role: found OWNER",
            ),
            (
                {"quality_control_image": "YES"},
                "QUALITY_CONTROL_IMAGE",
                "(0028,0300) Quality Control Image: found YES; expected NO",
            ),
            (
                {"test_image_type": "QC"},
                "QUALITY_CONTROL_IMAGE",
                "(0008,0008) Image Type: found QC; expected values that do not say test",
            ),
        ]
    ),
    *(
        (
            {"unreadable": frozenset({keyword})},
            "ELEMENT_UNREADABLE",
            f"{element_name(keyword)}: found a value that cannot be read; expected {expected}, or no",
        )
        for keyword, expected in DECIDING.items()
    ),
    (
        {"unreadable": frozenset({"Rows"}), "rows": None},
        "ROWS_OUT_OF_RANGE",
        "(0028,0010) Rows: found a value that cannot be read; expected a full-size",
    ),
    *(
        (
            {"patient_orientation": orientation},
            "ORIENTATION_NOT_FRONTAL",
            f"(0020,0020) Patient Orientation: found {orientation}; expected rows that run",
        )
        for orientation in ("L\\R", "H\\F", "L\\L", "LA\\F", "P\\H", "LR\\F")
    ),
]


@pytest.mark.parametrize(("changes", "code", "words"), REFUSED, ids=lambda v: str(v)[:60])
def test_refused_by_one_rule(changes: dict, code: str, words: str) -> None:
    judgement = check_eligibility(chest(**changes))

    (refusal,) = judgement.refusals  # one reason, told once
    assert refusal.code == code
    assert words in refusal.sentence
    assert refusal.step is Step.ELIGIBILITY
    assert refusal.found in refusal.sentence
    assert refusal.expected in refusal.sentence
    assert not judgement.eligible
    assert judgement.frame_numbers == ()


def test_every_rule_has_its_row() -> None:
    assert {code for _, code, _ in REFUSED} == {rule.code for rule in RULES}


def test_all_reasons_are_told_at_once() -> None:
    refusals = check_eligibility(
        chest(modality="MG", body_part_examined="BREAST", view_position="MLO")
    ).refusals

    assert [r.code for r in refusals] == [
        "MODALITY_NOT_ELIGIBLE",
        "BODY_PART_NOT_CHEST",
        "VIEW_NOT_FRONTAL",
    ]


CHILDREN = EligibilityPolicy(population_age_years=(1, 5))


@pytest.mark.parametrize(
    ("changes", "policy", "codes"),
    [
        ({}, CHILDREN, []),
        ({"patient_age_years": 1.0}, CHILDREN, []),
        ({"patient_age_years": 5.0}, CHILDREN, []),
        ({"patient_age_years": 0.5}, CHILDREN, ["PATIENT_AGE_OUTSIDE_POPULATION"]),
        ({"patient_age_years": 64.5}, CHILDREN, ["PATIENT_AGE_OUTSIDE_POPULATION"]),
        ({"patient_age_years": None}, CHILDREN, ["PATIENT_AGE_UNKNOWN"]),
        (
            {"patient_age_years": None, "is_age_unreadable": True},
            CHILDREN,
            ["PATIENT_AGE_UNREADABLE"],
        ),
        ({"decimal_commas": frozenset({"PixelSpacing"})}, CHILDREN, ["DECIMAL_COMMA"]),
        ({"unreadable": frozenset({"PatientID"})}, CHILDREN, ["ELEMENT_UNREADABLE"]),
        ({"unreadable": frozenset({"PatientAge"})}, CHILDREN, []),
        ({"patient_age_years": 64.5}, EligibilityPolicy(), []),
        ({"body_part_examined": None}, CHILDREN, ["BODY_PART_UNKNOWN"]),
        ({"body_part_examined": None, "anatomic_region": "CHEST"}, CHILDREN, []),
        ({"view_position": None}, CHILDREN, ["VIEW_UNKNOWN"]),
        ({"view_position": None, "describes_lateral": True}, CHILDREN, ["DESCRIBED_AS_LATERAL"]),
        ({"describes_lateral": True}, CHILDREN, []),
        ({"patient_orientation": None}, CHILDREN, ["PATIENT_ORIENTATION_UNKNOWN"]),
        ({"subject": Subject(is_specimen=True)}, CHILDREN, ["SPECIMEN"]),
        ({"subject": Subject(is_deceased=True)}, CHILDREN, ["POST_MORTEM"]),
        ({"describes_post_mortem": True}, CHILDREN, ["POST_MORTEM"]),
        ({"view_position": None, "view_code": "PA"}, CHILDREN, []),
        (
            {"number_of_frames": 2},
            EligibilityPolicy(multi_frame=MultiFrame.FIRST),
            ["ONE_OF_SEVERAL_FRAMES"],
        ),
    ],
    ids=str,
)
def test_warnings(changes: dict, policy: EligibilityPolicy, codes: list[str]) -> None:
    judgement = check_eligibility(chest(**changes), policy)

    assert judgement.eligible
    assert [warning.code for warning in judgement.warnings] == codes


def test_the_age_warning_says_whom_the_model_is_for() -> None:
    (warning,) = check_eligibility(chest(patient_age_years=64.5), CHILDREN).warnings

    assert "outside the 1 to 5 years that the model was trained for" in warning.sentence
    assert warning.tag == "(0010,1010) Patient's Age"


@pytest.mark.parametrize(
    ("multi_frame", "frames"),
    [(MultiFrame.REFUSE, ()), (MultiFrame.FIRST, (1,)), (MultiFrame.EVERY, (1, 2, 3))],
)
def test_what_is_done_with_several_frames(multi_frame: MultiFrame, frames: tuple) -> None:
    policy = EligibilityPolicy(multi_frame=multi_frame)

    assert check_eligibility(chest(number_of_frames=3), policy).frame_numbers == frames
