"""Days of which an archive may have more studies than it told, for the screens that list its days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from rich.text import Text

from worker.archive.find.truncated_answers import Truncation

CODE = "SEARCH_CUT_OFF"
LISTED = 5
"""Days that are named; of more only the number is told."""


def truncation_notice(peer_name: str, doubts: Mapping[date, Truncation]) -> Text:
    """Code and sentence, certain days first."""
    days = sorted(doubts, key=lambda day: (not doubts[day].is_certain, day))
    named = ", ".join(f"{day.isoformat()} ({doubts[day].answers})" for day in days[:LISTED])
    more = f" and {len(days) - LISTED} more days" if len(days) > LISTED else ""
    how = (
        "stopped in the middle of its answer"
        if any(doubt.is_certain for doubt in doubts.values())
        else "gave as many studies as a limit would leave"
    )
    return Text.assemble(
        (CODE, "bold yellow"),
        f" {peer_name} {how} (so many studies): {named}{more}. Some may be missing. Have its limit "
        "of answers raised; if it has none, or another, say it with `search_limit` in the file of "
        "peers.",
    )
