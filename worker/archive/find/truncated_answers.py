"""Find all studies of a day in an archive that limits the number of its answers.

The standard has no way for an archive to say that it withholds matches (PS3.4 C.4.1), and many
truncate silently. So an answer that fails in the middle, or whose number of studies looks like a
limit, is queried again in two halves of its span of time (Study Time, a range: PS3.4 C.2.2.2.5),
and those in halves, until none looks truncated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from worker.archive.find.answers import Answer, AnswerCompleteness, Archive, FoundStudy, Keys

DAY_MINUTES = 24 * 60
REFUSED_OUTRIGHT_MINUTES = 180
"""An archive that refuses even so short a span, and every other, is out of order: no limit explains it."""


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Why an archive may have more studies than it returned."""

    is_certain: bool
    """The archive said so, or a narrower query found more; else only its number of answers looks like a limit."""
    answers: int
    """How many studies it returned."""


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Minutes of a day, from `begin` (included) to `end` (excluded)."""

    begin: int
    end: int

    @property
    def minutes(self) -> int:
        return self.end - self.begin

    def halves(self) -> tuple[_Span, _Span]:
        middle = (self.begin + self.end) // 2
        return _Span(begin=self.begin, end=middle), _Span(begin=middle, end=self.end)

    def matching(self) -> str:
        """Return the span as a range of times (PS3.5 6.2, TM), to the end of its last minute."""
        last = self.end - 1
        return f"{self.begin // 60:02}{self.begin % 60:02}00-{last // 60:02}{last % 60:02}59.999999"


def find_whole_day(
    archive: Archive, day: date, modality: str = "", *, limit: int | None = None
) -> tuple[tuple[FoundStudy, ...], Truncation | None]:
    """Return the studies of a day, and why there may be more. `limit`: of the archive, if known.

    Raises as `Archive.studies`; also Unavailable if the archive refuses spans short and long.
    """
    keys = {"StudyDate": day.strftime("%Y%m%d"), "ModalitiesInStudy": modality}
    answer = archive.studies(keys)
    search = _DaySearch(archive, keys, limit)
    if search.is_suspicious(answer):
        search.split(_Span(begin=0, end=DAY_MINUTES), answer)
        search.note_without_time(answer)
    return tuple((answer.by_uid | search.found).values()), search.truncation


def is_likely_limit(answers: int) -> bool:
    """Return whether a number of answers is round, as limits are: 100, 250, 500, 1000, 2048."""
    is_power_of_two = answers & (answers - 1) == 0
    return answers >= 50 and (answers % 50 == 0 or is_power_of_two)


class _DaySearch:
    """The queries of one day and what they found."""

    def __init__(self, archive: Archive, keys: Keys, limit: int | None) -> None:
        self._archive, self._keys, self._limit = archive, keys, limit
        self.found: dict[str, FoundStudy] = {}
        """Found by span of time; the answer to the whole day is not included."""
        self.truncation: Truncation | None = None
        self._has_answered = False
        """Whether any answer was not refused."""

    def is_suspicious(self, answer: Answer) -> bool:
        if answer.completeness is not AnswerCompleteness.YES:
            return True
        count = len(answer.studies)
        return is_likely_limit(count) if self._limit is None else count >= self._limit

    def split(self, span: _Span, whole: Answer) -> None:
        """Query both halves of a span whose answer may be truncated, and so on until it is complete."""
        if whole.error and not whole.studies and self._is_too_short(span):
            raise whole.error
        if span.minutes == 1:
            self._note(whole)
            return
        halves = [(half, self._query(half)) for half in span.halves()]
        for _, answer in halves:
            self.found |= answer.by_uid
            self._has_answered |= answer.completeness is not AnswerCompleteness.NO
        if _ignores_time(whole, [answer for _, answer in halves]):
            self._note(whole)
            return
        for half, answer in halves:
            if self._is_truncated_too(answer, whole):
                self.split(half, answer)

    def note_without_time(self, whole: Answer) -> None:
        """Record a truncation if studies without a time, which are in no span, may be missing."""
        without_time = whole.by_uid.keys() - self.found.keys()
        if without_time and (
            whole.completeness is AnswerCompleteness.NO or self.found.keys() - whole.by_uid.keys()
        ):
            self._note(whole)

    def _is_truncated_too(self, half: Answer, whole: Answer) -> bool:
        """Return whether a half is truncated too; after a silent truncation, one with fewer is complete."""
        if half.completeness is AnswerCompleteness.NO:
            return True
        return (
            len(half.studies) >= len(whole.studies) if whole.studies else self.is_suspicious(half)
        )

    def _is_too_short(self, span: _Span) -> bool:
        """Return whether a span is too short for a limit to explain a refusal without any study."""
        is_short = span.minutes <= REFUSED_OUTRIGHT_MINUTES
        return span.minutes == 1 or (is_short and not self._has_answered)

    def _query(self, span: _Span) -> Answer:
        return self._archive.studies(self._keys | {"StudyTime": span.matching()})

    def _note(self, whole: Answer) -> None:
        is_certain = whole.completeness is AnswerCompleteness.NO
        if self.truncation is None or (is_certain and not self.truncation.is_certain):
            self.truncation = Truncation(is_certain=is_certain, answers=len(whole.studies))


def _ignores_time(whole: Answer, halves: list[Answer]) -> bool:
    """Return whether the archive ignores the time: else no study is in both halves of a span."""
    first, second = (half.by_uid.keys() for half in halves)
    return bool(first) and first == second == whole.by_uid.keys()
