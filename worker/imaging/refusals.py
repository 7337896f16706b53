"""Why an instance is not predicted: a value that is stored, counted, shown and never retried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.errors import Rejected


class Step(StrEnum):
    """Where on its way an instance was refused."""

    HEADER = "header"
    """The file could not be read as a DICOM instance."""
    ELIGIBILITY = "eligibility"
    """The header says that this is no frontal chest radiograph that we may judge."""
    DECODE = "decode"
    """The pixel data could not be turned into stored values."""
    NORMALISE = "normalise"
    """The stored values could not be turned into a picture."""
    ASSESS = "assess"
    """The picture is unlike everything that the model was trained on."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One reason, in words that hold no name, no patient id and no UID."""

    code: str
    """Stable, UPPER_SNAKE: what analysts count."""
    tag: str | None
    """The element that decided, as "(0018,0015) Body Part Examined"; None when it is the file."""
    found: str
    """The value found when it is a number or a defined term; otherwise a description of it."""
    expected: str
    """What would have been accepted."""
    sentence: str
    """For a person: what, which value, what was expected, what to do."""
    step: Step
    """Where it happened."""


class RefusedInstance(Rejected):
    """Raised where one refusal ends the matter: reading, decoding and normalising."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code, refusal.sentence)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[RefusedInstance], tuple[Refusal]]:
        return type(self), (self.refusal,)  # exceptions pickle by their arguments; ours is one


def refused(
    code: str, *, step: Step, found: str, expected: str, advice: str, tag: str | None = None
) -> RefusedInstance:
    """Return the exception for one refusal; its sentence is put together from the parts."""
    subject = tag or "The file"
    return RefusedInstance(
        Refusal(
            code=code,
            tag=tag,
            found=found,
            expected=expected,
            sentence=f"{subject}: found {found}; expected {expected}. {advice}",
            step=step,
        )
    )
