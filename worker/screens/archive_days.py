"""What `pneumo backfill` and `pneumo coverage` share: the modalities asked for, and truncated days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from rich.text import Text

from worker.archive.find.truncated_answers import Truncation
from worker.errors import Rejected

CODE = "SEARCH_CUT_OFF"
LISTED = 5
"""Days that are named; of more only the number is printed."""


def modalities_of(listed: str) -> tuple[str, ...]:
    """Split `CR,DX`; return none for `all`. Raises Rejected MODALITY_INVALID."""
    words = tuple(word.strip().upper() for word in listed.split(","))
    if words == ("ALL",):
        return ()
    for word in words:
        if not (word.isalnum() and word.isascii() and len(word) <= 16):
            raise Rejected(
                "MODALITY_INVALID",
                "Modalities are defined terms separated by commas (CR,DX), or `all`.",
            )
    return words


def truncation_notice(peer_name: str, truncations: Mapping[date, Truncation]) -> Text:
    """Name the days of which the archive may have more studies than it returned, certain ones first."""
    days = sorted(truncations, key=lambda day: (not truncations[day].is_certain, day))
    named = ", ".join(f"{day.isoformat()} ({truncations[day].answers})" for day in days[:LISTED])
    more = f" and {len(days) - LISTED} more" if len(days) > LISTED else ""
    how = (
        "stopped in the middle of its answer"
        if any(truncation.is_certain for truncation in truncations.values())
        else "returned as many studies as a limit would allow"
    )
    return Text.assemble(
        (CODE, "bold yellow"),
        f" {peer_name} {how} (number of studies in brackets): {named}{more}. Some studies may be "
        "missing. Have the archive's limit raised; if it has none, or another, state it as "
        "`search_limit` in the file of peers.",
    )
