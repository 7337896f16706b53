"""Reasons to warn: what is unknown or unusual is carried with the result, not refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.imaging.header import InstanceHeader
from worker.imaging.policy import EligibilityPolicy, MultiFrame


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
    tag: str
    """The element it looks at."""
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
        applies=lambda h, p: h.patient_age_years is None and p.population_age_years is not None,
        sentence=lambda _h, _p: "No age is given, so nobody knows if the model was made for it.",
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
        applies=lambda h, _: h.view_position is None and h.view_code is None,
        sentence=lambda _h, _p: "No view is given; the image was taken to be frontal.",
    ),
    Caution(
        code="ONE_OF_SEVERAL_FRAMES",
        tag="(0028,0008) Number of Frames",
        applies=lambda h, p: h.number_of_frames > 1 and p.multi_frame is MultiFrame.FIRST,
        sentence=lambda _h, _p: "The instance has several frames; only the first was predicted.",
    ),
)
"""Every reason to warn."""
