"""Reasons to warn: what is unknown or unusual is carried with the result, not refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.imaging.header import InstanceHeader
from worker.imaging.policy import EligibilityPolicy, MultiFrame
from worker.imaging.rules import DECIDING
from worker.imaging.unreadable import ELEMENT_UNREADABLE, element_name


@dataclass(frozen=True, kw_only=True)
class EligibilityWarning:
    """Something a reader of the result has to know; no reason to refuse."""

    code: str
    """Stable, UPPER_SNAKE."""
    tag: str | None
    """The element it is about."""
    sentence: str
    """For a person; without names, ids and UIDs."""


@dataclass(frozen=True, kw_only=True)
class Caution:
    """One reason to warn."""

    code: str
    """Stable, UPPER_SNAKE."""
    tag: str | None
    """The element it looks at; None if the sentence names them."""
    applies: Callable[[InstanceHeader, EligibilityPolicy], bool]
    """Whether to warn."""
    sentence: Callable[[InstanceHeader, EligibilityPolicy], str]
    """The words."""


def _age_is_outside(header: InstanceHeader, policy: EligibilityPolicy) -> bool:
    age, meant = header.patient_age_years, policy.population_age_years
    return age is not None and meant is not None and not meant[0] <= age <= meant[1]


def _age_sentence(_header: InstanceHeader, policy: EligibilityPolicy) -> str:
    low, high = policy.population_age_years or (0.0, 0.0)
    return (
        f"The patient is outside the {low:g} to {high:g} years that the model was trained for; "
        "its probability may mean little here."
    )


def _without_an_age(header: InstanceHeader, policy: EligibilityPolicy) -> bool:
    return header.patient_age_years is None and policy.population_age_years is not None


def _without_a_view(header: InstanceHeader) -> bool:
    return header.view_position is None and header.view_code is None


_OF_AGE = {"PatientAge", "PatientBirthDate", "StudyDate"}
"""Unreadable ones are told of where an age is asked for."""


def _unreadable(header: InstanceHeader) -> set[str]:
    return set(header.unreadable - DECIDING.keys() - _OF_AGE)


def _names(keywords: Iterable[str]) -> str:
    return ", ".join(sorted(element_name(keyword) for keyword in keywords))


CAUTIONS: tuple[Caution, ...] = (
    Caution(
        code="PATIENT_AGE_OUTSIDE_POPULATION",
        tag="(0010,1010) Patient's Age",
        applies=_age_is_outside,
        sentence=_age_sentence,
    ),
    Caution(
        code="PATIENT_AGE_UNKNOWN",
        tag="(0010,1010) Patient's Age",
        applies=lambda h, p: _without_an_age(h, p) and not h.is_age_unreadable,
        sentence=lambda _h, _p: "No age is given, so nobody knows if the model was made for it.",
    ),
    Caution(
        code="PATIENT_AGE_UNREADABLE",
        tag="(0010,1010) Patient's Age",
        applies=lambda h, p: _without_an_age(h, p) and h.is_age_unreadable,
        sentence=lambda _h, _p: (
            "The age or the dates that are given cannot be read without guessing, so nobody knows if "
            "the model was made for the patient."
        ),
    ),
    Caution(
        code="BODY_PART_UNKNOWN",
        tag="(0018,0015) Body Part Examined",
        applies=lambda h, _: h.body_part_examined is None and h.anatomic_region is None,
        sentence=lambda _h, _p: "No body part is given; the image was taken to be a chest.",
    ),
    Caution(
        code="VIEW_UNKNOWN",
        tag="(0018,5101) View Position",
        applies=lambda h, _: _without_a_view(h) and not h.describes_lateral,
        sentence=lambda _h, _p: "No view is given; the image was taken to be frontal.",
    ),
    Caution(
        code="DESCRIBED_AS_LATERAL",
        tag="(0018,5101) View Position",
        applies=lambda h, _: _without_a_view(h) and h.describes_lateral,
        sentence=lambda _h, _p: (
            "No view is given, and a description names a lateral one; the image was taken to be frontal."
        ),
    ),
    Caution(
        code="PATIENT_ORIENTATION_UNKNOWN",
        tag="(0020,0020) Patient Orientation",
        applies=lambda h, _: h.patient_orientation is None,
        sentence=lambda _h, _p: (
            "No orientation is given; the image was taken to be stored upright, with the patient's "
            "right on its left."
        ),
    ),
    Caution(
        code="SPECIMEN",
        tag="(0040,0560) Specimen Description Sequence",
        applies=lambda h, _: h.subject.is_specimen,
        sentence=lambda _h, _p: "The image is of a specimen; the model knows living people only.",
    ),
    Caution(
        code="POST_MORTEM",
        tag=None,
        applies=lambda h, _: h.subject.is_deceased or h.describes_post_mortem,
        sentence=lambda _h, _p: (
            "The header says that the person was dead; the model knows living people only."
        ),
    ),
    Caution(
        code="ONE_OF_SEVERAL_FRAMES",
        tag="(0028,0008) Number of Frames",
        applies=lambda h, p: h.number_of_frames > 1 and p.multi_frame is MultiFrame.FIRST,
        sentence=lambda _h, _p: "The instance has several frames; only the first was predicted.",
    ),
    Caution(
        code="DECIMAL_COMMA",
        tag=None,
        applies=lambda h, _: bool(h.decimal_commas),
        sentence=lambda h, _: f"A decimal comma was read as a point in {_names(h.decimal_commas)}.",
    ),
    Caution(
        code=ELEMENT_UNREADABLE,
        tag=None,
        applies=lambda h, _: bool(_unreadable(h)),
        sentence=lambda h, _: (
            f"The image was judged without elements that cannot be read: {_names(_unreadable(h))}."
        ),
    ),
)
"""Every reason to warn."""
