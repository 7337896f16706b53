"""Wait for the results of studies, for `pneumo enqueue --wait` and for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from db.engine.session import Database
from db.studies.overview import study_summaries
from db.values import StudySummary
from db.vocabulary.enums import StudyState

FINAL_STATES = frozenset({StudyState.DONE, StudyState.PARKED})
"""States that change only when somebody acts."""
POLL_INTERVAL_S = 0.2
BATCH = 500
"""Keys in one statement, since databases limit the number of parameters."""


def wait_for_studies(
    database: Database,
    study_keys: Sequence[str],
    *,
    timeout_s: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[StudySummary, ...]:
    """Wait until these studies are done or parked, at most `timeout_s`; return their summaries.

    `on_progress` is called with the number that have ended, at each poll.
    """
    keys = list(dict.fromkeys(study_keys))
    until = time.monotonic() + timeout_s
    while True:
        summaries = _summaries(database, keys)
        ended = sum(summary.state in FINAL_STATES for summary in summaries)
        on_progress(ended)
        if ended == len(keys) or time.monotonic() >= until:
            return summaries
        time.sleep(POLL_INTERVAL_S)


def _summaries(database: Database, keys: Sequence[str]) -> tuple[StudySummary, ...]:
    with database.reading() as session:
        return tuple(
            summary
            for start in range(0, len(keys), BATCH)
            for summary in study_summaries(session, keys[start : start + BATCH])
        )
