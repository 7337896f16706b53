"""What a capture says, in words; how it looks is in capture_drawing.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from worker.imaging.header_values import integer
from worker.results.patient_consistency import header_of_report
from worker.results.result_settings import ResultSettings
from worker.results.structured_report import replaced_sentences
from worker.results.study_clock import StudyClock
from worker.results.study_result import FrameResult, InstanceResult, ResultVerdict, StudyResult


class Tone(Enum):
    """The colour of what was found, as RGB: apart for those who do not see red from green, too."""

    PRESENT = (255, 178, 64)
    """Amber."""
    ABSENT = (122, 196, 232)
    """Light blue."""
    NOT_EVALUATED = (202, 202, 210)
    """Grey: neither."""


MAX_DIGITS = 6
"""After the point; more do not fit, and nobody reads them."""
_TAG = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\) ")
_FOUND = {
    ResultVerdict.POSITIVE: ("Pneumonia present", Tone.PRESENT),
    ResultVerdict.NEGATIVE: ("Pneumonia absent", Tone.ABSENT),
    ResultVerdict.REJECTED: ("Not evaluated", Tone.NOT_EVALUATED),
}
_MARKED = (
    "Colour: where the model looked most within this picture. Its strength is relative, and no "
    "probability."
)
_UNMARKED = {
    ResultVerdict.POSITIVE: "Nothing is marked: no part of this picture stood out.",
    ResultVerdict.NEGATIVE: "Nothing is marked: the result is below the threshold.",
}


@dataclass(frozen=True, kw_only=True)
class CaptureText:
    """Everything that is written on one capture."""

    headline: str
    """What was found."""
    tone: Tone
    """Its colour."""
    probability: float | None
    """Of this image; None if nothing was evaluated."""
    threshold: float
    """Operating point."""
    details: tuple[str, ...]
    """Sentences in order of weight: what does not fit is left to the structured report."""
    disclaimer: str
    """The site's words."""
    legend: str = ""
    """What the marking of the radiograph means, or why there is none; never left away."""

    @property
    def numbers(self) -> tuple[str, str]:
        """Probability and threshold with as many digits as it takes to see which is greater."""
        if self.probability is None:
            return "", f"{self.threshold:.3f}"
        for digits in range(3, MAX_DIGITS + 1):
            shown = f"{self.probability:.{digits}f}", f"{self.threshold:.{digits}f}"
            if shown[0] != shown[1] or self.probability == self.threshold:
                return shown
        return (f"<{shown[1]}", shown[1]) if self.probability < self.threshold else shown


def image_text(
    result: StudyResult, item: InstanceResult, words: ResultSettings, *, marked: bool
) -> CaptureText:
    """What stands under the radiograph. `marked`: whether any of it is tinted."""
    frame = item.leading_frame
    clock = StudyClock.of(item.header, words)
    headline, tone = _FOUND[frame.verdict]
    details = (
        f"{result.model.name} {result.model.version}  ·  {clock.for_display(frame.predicted_at)}",
        _which(result, item, frame),
        *map(_without_tag, frame.warnings),
        *_of_the_study(result, words, clock),
    )
    return CaptureText(
        headline=headline,
        tone=tone,
        probability=frame.probability,
        threshold=result.model.threshold,
        details=details,
        legend=_MARKED if marked else _UNMARKED[frame.verdict],
        disclaimer=words.disclaimer,
    )


def notice_text(result: StudyResult, words: ResultSettings) -> CaptureText:
    """What stands on the one capture of a study of which nothing was evaluated."""
    clock = StudyClock.of(header_of_report(result), words)
    headline, tone = _FOUND[ResultVerdict.REJECTED]
    reasons = [
        f"Image {number}: {_without_tag(item.not_evaluated.sentence)}"
        for number, item in enumerate(result.in_order, start=1)
        if item.not_evaluated
    ]
    return CaptureText(
        headline=headline,
        tone=tone,
        probability=None,
        threshold=result.model.threshold,
        details=(
            f"{result.model.name} {result.model.version}  ·  {clock.for_display(result.finished_at)}",
            "This says neither that there is pneumonia nor that there is none.",
            *replaced_sentences(result, words, clock),
            *reasons,
        ),
        disclaimer=words.disclaimer,
    )


def _without_tag(sentence: str) -> str:
    """Tag numbers are for those who read the structured report."""
    return _TAG.sub("", sentence)


def _which(result: StudyResult, item: InstanceResult, frame: FrameResult) -> str:
    """Which image this is; the same number as in the structured report."""
    number = result.in_order.index(item) + 1
    parts = [f"Image {number} of {len(result.instances)}"]
    frames = integer(item.header, "NumberOfFrames") or 1
    if frames > 1:
        parts.append(f"frame {frame.frame_number} of {frames}")
    parts += [f"revision {result.revision}", f"bundle {result.model.bundle_digest[:8]}"]
    return "  ·  ".join(parts)


def _of_the_study(result: StudyResult, words: ResultSettings, clock: StudyClock) -> list[str]:
    """What the reader of one image must know of the others."""
    said = replaced_sentences(result, words, clock)
    if len(result.evaluated) > 1:
        headline, _ = _FOUND[result.verdict]
        said.append(f"All images together: {headline} ({result.probability:.3f}).")
    if result.left_out:
        left, all_of_them = len(result.left_out), len(result.instances)
        said.append(f"{left} of {all_of_them} images not evaluated: see the structured report.")
    return said
