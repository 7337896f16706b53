"""The text of a capture; capture_drawing.py draws it."""

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
    """The colour of a verdict, as RGB; people with red-green blindness can tell them apart, too."""

    PRESENT = (255, 178, 64)
    """Amber."""
    ABSENT = (122, 196, 232)
    """Light blue."""
    NOT_EVALUATED = (202, 202, 210)
    """Grey: neither."""


MAX_DIGITS = 6
"""Maximum digits after the decimal point; more do not fit, and nobody reads them."""
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
    """All text on one capture."""

    headline: str
    """The verdict in settings."""
    tone: Tone
    """Its colour."""
    probability: float | None
    """This image's probability; None if nothing was evaluated."""
    threshold: float
    """Operating point."""
    details: tuple[str, ...]
    """Sentences, the most important first: what does not fit is in the structured report."""
    disclaimer: str
    """From the result settings."""
    legend: str = ""
    """What the marking of the radiograph means, or why there is none; never left out."""

    @property
    def numbers(self) -> tuple[str, str]:
        """Probability and threshold, with enough digits to show which is greater."""
        if self.probability is None:
            return "", f"{self.threshold:.3f}"
        for digits in range(3, MAX_DIGITS + 1):
            shown = f"{self.probability:.{digits}f}", f"{self.threshold:.{digits}f}"
            if shown[0] != shown[1] or self.probability == self.threshold:
                return shown
        return (f"<{shown[1]}", shown[1]) if self.probability < self.threshold else shown


def image_text(
    result: StudyResult, item: InstanceResult, settings: ResultSettings, *, marked: bool
) -> CaptureText:
    """Return the text under a radiograph. `marked`: whether any of it is tinted."""
    frame = item.leading_frame
    clock = StudyClock.of(item.header, settings)
    headline, tone = _FOUND[frame.verdict]
    details = (
        f"{result.model.name} {result.model.version}  ·  {clock.for_display(frame.predicted_at)}",
        _which(result, item, frame),
        *map(_without_tag, frame.warnings),
        *_of_the_study(result, settings, clock),
    )
    return CaptureText(
        headline=headline,
        tone=tone,
        probability=frame.probability,
        threshold=result.model.threshold,
        details=details,
        legend=_MARKED if marked else _UNMARKED[frame.verdict],
        disclaimer=settings.disclaimer,
    )


def notice_text(result: StudyResult, settings: ResultSettings) -> CaptureText:
    """Return the text of the only capture of a study of which nothing was evaluated."""
    clock = StudyClock.of(header_of_report(result), settings)
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
            *replaced_sentences(result, settings, clock),
            *reasons,
        ),
        disclaimer=settings.disclaimer,
    )


def _without_tag(sentence: str) -> str:
    """Return the sentence without tag numbers, which are for readers of the structured report."""
    return _TAG.sub("", sentence)


def _which(result: StudyResult, item: InstanceResult, frame: FrameResult) -> str:
    """Identify the image by the number that it has in the structured report."""
    number = result.in_order.index(item) + 1
    parts = [f"Image {number} of {len(result.instances)}"]
    frames = integer(item.header, "NumberOfFrames") or 1
    if frames > 1:
        parts.append(f"frame {frame.frame_number} of {frames}")
    parts += [f"revision {result.revision}", f"bundle {result.model.bundle_digest[:8]}"]
    return "  ·  ".join(parts)


def _of_the_study(result: StudyResult, settings: ResultSettings, clock: StudyClock) -> list[str]:
    """Return what the reader of one image must know about the others."""
    sentences = replaced_sentences(result, settings, clock)
    if len(result.evaluated) > 1:
        headline, _ = _FOUND[result.verdict]
        sentences.append(f"All images together: {headline} ({result.probability:.3f}).")
    if result.left_out:
        left_out, total = len(result.left_out), len(result.instances)
        sentences.append(f"{left_out} of {total} images not evaluated: see the structured report.")
    return sentences
