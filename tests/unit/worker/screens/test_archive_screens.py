"""What `pneumo coverage`, `pneumo backfill` and `pneumo pull` show, in a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from rich.console import Console

from db.vocabulary.enums import StudyState
from worker.archive.coverage import CoverageStatus, DayCoverage
from worker.archive.find.truncated_answers import Truncation
from worker.screens.archive_days import truncation_notice
from worker.screens.coverage import coverage_table
from worker.screens.submit import SubmittedStudy, submitted_table

FIRST = date(2026, 1, 1)


def shown(renderable) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def lines_of(renderable) -> list[list[str]]:
    return [line.replace("│", " ").split() for line in shown(renderable).splitlines()]


def covered(days: int) -> list[DayCoverage]:
    """Each day 1000 predicted and one never seen."""
    counts = Counter({CoverageStatus.PREDICTED: 1000, CoverageStatus.NEVER_SEEN: 1})
    return [
        DayCoverage(
            day=FIRST + timedelta(days=n),
            counts=counts,
            codes=Counter(),
            never_seen=(),
            truncation=None,
        )
        for n in range(days)
    ]


def test_more_than_two_months_are_told_by_month():
    days = covered(90)
    total = sum((day.counts for day in days), Counter())
    lines = lines_of(coverage_table(days, total))
    assert ["2026-01", "31031", "31000", "0", "0", "0", "31", "99", "%"] in lines
    assert ["2026-03", "31031", "31000", "0", "0", "0", "31", "99", "%"] in lines
    assert ["all", "90090", "90000", "0", "0", "0", "90", "99", "%"] in lines
    assert "…" not in shown(coverage_table(days, total))


def test_two_months_are_told_by_day():
    days = covered(59)
    assert ["2026-02-28", "1001", "1000", "0", "0", "0", "1", "99", "%"] in lines_of(
        coverage_table(days, days[0].counts)
    )


def test_an_ordered_study_is_named_in_full():
    key = "0123456789abcdef" * 2
    order = SubmittedStudy(study_key=key, received="known", state=StudyState.DONE)
    assert [key, "known", "done"] in lines_of(submitted_table([order]))


def test_truncated_days_are_named_the_certain_ones_first_and_the_rest_counted():
    truncations = {
        FIRST + timedelta(days=n): Truncation(is_certain=n == 6, answers=100) for n in range(7)
    }
    text = " ".join(shown(truncation_notice("pacs", truncations)).split())
    assert text.startswith("SEARCH_CUT_OFF pacs stopped in the middle of its answer")
    assert "2026-01-07 (100), 2026-01-01 (100)" in text
    assert "and 2 more." in text
    only_unsure = {day: it for day, it in truncations.items() if not it.is_certain}
    assert "as many studies as a limit would allow" in truncation_notice("pacs", only_unsure).plain
