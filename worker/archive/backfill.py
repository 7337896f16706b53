"""Order what an archive has of a span of days: at a limited rate, in its quiet hours, a few at once.

Known studies are skipped, so a backfill that was stopped goes on when it is started again: it keeps no
other state.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as clock_time

from db.engine.session import Database
from db.ledger.conditions import active_code
from db.studies.orders import known_studies, outstanding_orders
from worker.archive import errors
from worker.archive.circuit_breaker import RecordedCircuitBreaker
from worker.archive.find.answers import FoundStudy
from worker.archive.find.search import FoundDay, find_day
from worker.archive.find.truncated_answers import Truncation
from worker.archive.order import order_study
from worker.archive.retrieve.disk import NO_ROOM_CODES, STALE_S
from worker.errors import Rejected, Unavailable
from worker.peers.peers_file import Peer
from worker.settings import Settings

POLL_INTERVAL_S = 1.0
"""Interval of checking whether ordered studies are done, or the window has opened."""
SHOWN_WAIT_S = 5.0
"""A shorter wait for the rate is not shown, as it would only flicker."""
ARCHIVE_PAUSE_S = 30.0
"""Pause after a query that the archive did not answer."""
_HOUR_AND_MINUTE = r"(?:[01]\d|2[0-3]):[0-5]\d"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A number of studies in a number of seconds, evenly spread."""

    studies: int
    per_s: float

    @property
    def interval_s(self) -> float:
        """Return the time between one order and the next."""
        return self.per_s / self.studies

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Parse `30/min`, `2/s` or `500/h`. Raises Rejected RATE_INVALID."""
        match = re.fullmatch(r"([1-9]\d{0,5})/(s|min|h)", text.strip())
        if match is None:
            raise Rejected(
                "RATE_INVALID", f"{text[:20]!r} is not a rate. Expected e.g. 30/min, 2/s or 500/h."
            )
        per_s = {"s": 1.0, "min": 60.0, "h": 3600.0}[match[2]]
        return cls(studies=int(match[1]), per_s=per_s)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Hours of the day, by this machine's clock; may span midnight."""

    begins: clock_time
    ends: clock_time

    def is_open(self, at: clock_time) -> bool:
        """Return whether studies may be ordered now."""
        if self.begins <= self.ends:
            return self.begins <= at < self.ends
        return at >= self.begins or at < self.ends

    @classmethod
    def parse(cls, text: str) -> Window:
        """Parse `20:00-06:00`. Raises Rejected WINDOW_INVALID."""
        match = re.fullmatch(rf"({_HOUR_AND_MINUTE})-({_HOUR_AND_MINUTE})", text.strip())
        if match is None or match[1] == match[2]:
            raise Rejected(
                "WINDOW_INVALID",
                f"{text[:20]!r} is not a window. Expected two different times of the day, e.g. "
                "20:00-06:00.",
            )
        begins, ends = (clock_time.fromisoformat(match[which]) for which in (1, 2))
        return cls(begins=begins, ends=ends)


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """What to order, and how fast."""

    peer: Peer
    """The archive to search and to retrieve from."""
    first: date
    last: date
    """Both are included."""
    modalities: tuple[str, ...] = ()
    """A study has at least one of these; empty: all studies."""
    rate: Rate = Rate(studies=30, per_s=60.0)
    window: Window | None = None
    """None: at any time."""
    outstanding: int = 50
    """Most ordered studies that may wait or run at once."""


@dataclass(kw_only=True)
class BackfillProgress:
    """How far a backfill has come."""

    days: int
    """Days of the span."""
    days_done: int = 0
    found: int = 0
    """Studies that the archive has of the days done."""
    known: int = 0
    """Found studies that were known here before."""
    ordered: int = 0
    """Found studies that were ordered now."""
    truncations: dict[date, Truncation] = field(default_factory=dict)
    """Days of which the archive may have more than it returned."""
    waiting_for: str = ""
    """What the backfill waits for now; empty while it works."""


ShowProgress = Callable[[BackfillProgress], None]


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield each day, both ends included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def backfill(
    plan: Backfill,
    settings: Settings,
    database: Database,
    *,
    show: ShowProgress = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> BackfillProgress:
    """Order every study of the span that is not known here, the oldest day first.

    Waits while the archive is unavailable. Raises Rejected (DAYS_INVALID, and as `order_study`),
    Transient as `find_day` for failures that waiting does not mend.
    """
    days = list(days_between(plan.first, plan.last))
    if not days:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    progress = BackfillProgress(days=len(days))
    throttle = _Throttle(
        plan=plan, database=database, progress=progress, show=show, sleep=sleep, clock=clock
    )
    for day in days:
        throttle.wait_for_window()
        found = _find(plan, settings, database, day, throttle)
        new = _unknown(database, found.studies)
        progress.found += len(found.studies)
        progress.known += len(found.studies) - len(new)
        if found.truncation is not None:
            progress.truncations[day] = found.truncation
        for study in new:
            throttle.wait_until_allowed()
            # Never STAT: old studies can wait for new ones.
            ordered = order_study(
                study.study_instance_uid,
                peer=plan.peer.name,
                database=database,
                settings=settings,
            )
            progress.ordered += ordered.is_new
            progress.known += not ordered.is_new  # it arrived by another way meanwhile
            show(progress)
        progress.days_done += 1
        show(progress)
    return progress


def _find(
    plan: Backfill, settings: Settings, database: Database, day: date, throttle: _Throttle
) -> FoundDay:
    """Return the day's studies; while the archive is away, wait and show it in `pneumo status`."""
    breaker, was_away = RecordedCircuitBreaker(settings, database), False
    while True:
        try:
            found = find_day(plan.peer, settings, day, plan.modalities)
        except Unavailable as error:
            was_away = True
            breaker.note(error)
            throttle.pause(f"{plan.peer.name} ({error.code})", ARCHIVE_PAUSE_S)
        else:
            if was_away:
                breaker.record_success(errors.subject_of(plan.peer.name))
            return found


def _unknown(database: Database, found: Collection[FoundStudy]) -> list[FoundStudy]:
    uids = [study.study_instance_uid for study in found]
    with database.reading() as session:
        known = {
            uid
            for start in range(0, len(uids), 500)
            for uid in known_studies(session, uids[start : start + 500])
        }
    return [study for study in found if study.study_instance_uid not in known]


@dataclass(kw_only=True)
class _Throttle:
    """Waits for the window, the rate, room on the disk, and the studies ordered before."""

    plan: Backfill
    database: Database
    progress: BackfillProgress
    show: ShowProgress
    sleep: Callable[[float], None]
    clock: Callable[[], datetime]
    next_at: datetime | None = None
    """Earliest time of the next order, by the rate; None before the first."""

    def pause(self, why: str, seconds: float) -> None:
        """Sleep, and show why."""
        self.progress.waiting_for = why
        self.show(self.progress)
        self.sleep(seconds)
        self.progress.waiting_for = ""

    def wait_for_window(self) -> None:
        """Wait for the archive's quiet hours."""
        while (opens := self._opens_at()) is not None:
            self.pause(opens, POLL_INTERVAL_S)

    def wait_until_allowed(self) -> None:
        """Wait until one more study may be ordered, whatever changes meanwhile."""
        while True:
            if (opens := self._opens_at()) is not None:
                self.pause(opens, POLL_INTERVAL_S)
            elif (code := self._no_room()) is not None:
                self.pause(f"room on the disk ({code})", POLL_INTERVAL_S)
            elif self._outstanding() >= self.plan.outstanding:
                self.pause("ordered studies", POLL_INTERVAL_S)
            elif (early_s := self._early_s()) > 0:
                self.pause("the rate" if early_s >= SHOWN_WAIT_S else "", early_s)
            else:
                break
        self.next_at = self.clock() + timedelta(seconds=self.plan.rate.interval_s)

    def _opens_at(self) -> str | None:
        """Return when the window opens; None if it is open."""
        window = self.plan.window
        closed = window is not None and not window.is_open(self.clock().time())
        return f"{window.begins:%H:%M}" if window and closed else None

    def _early_s(self) -> float:
        return (self.next_at - self.clock()).total_seconds() if self.next_at else 0.0

    def _no_room(self) -> str | None:
        """Return the code of a full disk, here or on another node, where an order would only wait."""
        with self.database.reading() as session:
            return active_code(session, NO_ROOM_CODES, seen_within_s=STALE_S)

    def _outstanding(self) -> int:
        with self.database.reading() as session:
            return outstanding_orders(session)
