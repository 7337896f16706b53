"""What a failure is, and after how long the same work is tried again: for studies and deliveries."""

from __future__ import annotations

import random
from dataclasses import dataclass

from db.vocabulary.enums import FailureKind


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure in our own words; what the exception itself says may quote a dataset."""

    kind: FailureKind
    """Whose fault it is, and so whether it is tried again."""
    code: str
    """UPPER_SNAKE; what analysts count."""
    sentence: str
    """For a person; it holds no personal data."""
    retry_after_s: float | None = None
    """Retried after so long, however often; None: by the backoff."""
    traceback_reference: str | None = None
    """Under which the worker's log has the traceback, if it was our own mistake."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays that double with each failure in a row, up to a ceiling.

    Example:
        >>> Backoff(base_s=1, ceiling_s=300).delay_s(3)
        8.0
    """

    base_s: float
    """The first delay."""
    ceiling_s: float
    """No delay is longer, before it is spread."""
    spread: float = 0.0
    """Each delay is multiplied by a random number from 1 - `spread` to 1 + `spread`, so that what
    failed together does not come back together."""
    max_retries: int | None = None
    """After so many the work is given up; None: never."""

    def is_exhausted(self, failures: int) -> bool:
        """Whether there were enough retries."""
        return self.max_retries is not None and failures >= self.max_retries

    def delay_s(self, failures: int, *, factor: float = 1.0, jitter: float | None = None) -> float:
        """Return the seconds to wait after `failures` earlier ones in a row (0, 1, ...).

        `factor` multiplies the base; `jitter` in [0, 1] is where in the spread the delay lies
        (None: anywhere).
        """
        where = random.random() if jitter is None else jitter  # noqa: S311
        # Bounded before it is raised: days of failures would overflow.
        grown = self.base_s * factor * 2.0 ** min(failures, 30)
        return min(grown, self.ceiling_s) * (1.0 - self.spread + 2.0 * self.spread * where)
