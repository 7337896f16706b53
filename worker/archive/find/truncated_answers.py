"""All studies of a day from an archive that answers with so many at most.

No standard says how an archive tells that it holds back more (PS3.4 C.4.1), and many stop without
a word. So an answer that fails in the middle, or has just as many studies as a limit would leave,
is asked for again in two halves of its span of time (Study Time, a range: PS3.4 C.2.2.2.5), and
those in halves, until nothing speaks against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from worker.archive.find.answers import Answer, AnswerCompleteness, Archive, FoundStudy, Keys

DAY_MINUTES = 24 * 60
REFUSED_OUTRIGHT_MINUTES = 180
"""An archive that refuses even so short a span, and every other, is not itself: no limit of its."""


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Why an archive may have more than it told."""

    is_certain: bool
    """It said so itself, or was found out; else only its number of answers looks like a limit."""
    answers: int
    """After how many it stopped."""


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Minutes of a day, from `begin` on and before `end`."""

    begin: int
    end: int

    @property
    def minutes(self) -> int:
        return self.end - self.begin

    def halves(self) -> tuple[_Span, _Span]:
        middle = (self.begin + self.end) // 2
        return _Span(begin=self.begin, end=middle), _Span(begin=middle, end=self.end)

    def matching(self) -> str:
        """As a range of times (PS3.5 6.2, TM), up to the last moment of its last minute."""
        last = self.end - 1
        return f"{self.begin // 60:02}{self.begin % 60:02}00-{last // 60:02}{last % 60:02}59.999999"


def find_whole_day(
    archive: Archive, day: date, modality: str = "", *, limit: int | None = None
) -> tuple[tuple[FoundStudy, ...], Truncation | None]:
    """The studies of a day, and why there may be more. `limit`: the archive's own, if it is known.

    Raises as `Archive.studies`; Away too if it refuses spans short and long.
    """
    keys = {"StudyDate": day.strftime("%Y%m%d"), "ModalitiesInStudy": modality}
    answer = archive.studies(keys)
    asked = _DaySearch(archive, keys, limit)
    if asked.is_suspicious(answer):
        asked.split(_Span(begin=0, end=DAY_MINUTES), answer)
        asked.note_without_time(answer)
    return tuple((answer.by_uid | asked.found).values()), asked.truncation


def is_likely_limit(answers: int) -> bool:
    """Limits are round: 100, 250, 500, 1000, 2048."""
    is_power_of_two = answers & (answers - 1) == 0
    return answers >= 50 and (answers % 50 == 0 or is_power_of_two)


class _DaySearch:
    """One day's questions and what they brought."""

    def __init__(self, archive: Archive, keys: Keys, limit: int | None) -> None:
        self._archive, self._keys, self._limit = archive, keys, limit
        self.found: dict[str, FoundStudy] = {}
        """By the spans of time, the whole day's answer not among them."""
        self.truncation: Truncation | None = None
        self._answers = False
        """Whether it has answered to anything as it should."""

    def is_suspicious(self, answer: Answer) -> bool:
        if answer.completeness is not AnswerCompleteness.YES:
            return True
        count = len(answer.studies)
        return is_likely_limit(count) if self._limit is None else count >= self._limit

    def split(self, span: _Span, cut: Answer) -> None:
        """Ask for both halves of a span whose answer may be cut off, and on until it is whole."""
        if cut.error and not cut.studies and self._is_too_short(span):
            raise cut.error
        if span.minutes == 1:
            self._note(cut)
            return
        halves = [(half, self._ask(half)) for half in span.halves()]
        for _, answer in halves:
            self.found |= answer.by_uid
            self._answers = self._answers or answer.completeness is not AnswerCompleteness.NO
        if _ignores_time(cut, [answer for _, answer in halves]):
            self._note(cut)
            return
        for half, answer in halves:
            if self._is_cut_too(answer, cut):
                self.split(half, answer)

    def note_without_time(self, cut: Answer) -> None:
        """Studies without a time are in no span: where a day was cut off, some may be missing."""
        without_time = cut.by_uid.keys() - self.found.keys()
        if without_time and (
            cut.completeness is AnswerCompleteness.NO or self.found.keys() - cut.by_uid.keys()
        ):
            self._note(cut)

    def _is_cut_too(self, half: Answer, cut: Answer) -> bool:
        """Of what the archive cut off without a word, a half that has fewer studies is whole."""
        if half.completeness is AnswerCompleteness.NO:
            return True
        return len(half.studies) >= len(cut.studies) if cut.studies else self.is_suspicious(half)

    def _is_too_short(self, span: _Span) -> bool:
        """To blame a limit for a refusal without a single study."""
        return span.minutes == 1 or (not self._answers and span.minutes <= REFUSED_OUTRIGHT_MINUTES)

    def _ask(self, span: _Span) -> Answer:
        return self._archive.studies(self._keys | {"StudyTime": span.matching()})

    def _note(self, cut: Answer) -> None:
        is_certain = cut.completeness is AnswerCompleteness.NO
        if self.truncation is None or (is_certain and not self.truncation.is_certain):
            self.truncation = Truncation(is_certain=is_certain, answers=len(cut.studies))


def _ignores_time(cut: Answer, halves: list[Answer]) -> bool:
    """No study is in both halves of a day, unless the archive does not look at the time."""
    first, second = (half.by_uid.keys() for half in halves)
    return bool(first) and first == second == cut.by_uid.keys()
