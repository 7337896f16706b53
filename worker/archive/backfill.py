"""Ordering what an archive has of a span of days, politely: slowly, at its quiet hours, a few at once.

What is known is passed over, so that a backfill that was stopped goes on when it is started again:
there is nothing else to remember.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as clock_time

from db.engine.session import Database
from db.ledger.conditions import active_code, end_condition, note_condition
from db.studies.orders import known_studies, outstanding_orders
from worker.archive import errors
from worker.archive.find.search import FoundDay, FoundStudy, Truncation, find_day
from worker.archive.order import order_study
from worker.archive.retrieve.disk import NO_ROOM_CODES, STALE_S
from worker.errors import Rejected, Unavailable
from worker.peers.peers_file import Peer
from worker.settings import Settings
from worker.transactions import in_transaction

POLL_INTERVAL_S = 1.0
"""How often we look whether ordered studies have been done, or the window has opened."""
SHOWN_WAIT_S = 5.0
"""A shorter wait for the rate is how it goes on, and would only flicker."""
ARCHIVE_PAUSE_S = 30.0
"""After a question that the archive did not answer."""


_HOUR_AND_MINUTE = r"(?:[01]\d|2[0-3]):[0-5]\d"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """So many studies in so many seconds, evenly spread."""

    studies: int
    per_s: float

    @property
    def interval_s(self) -> float:
        """Between one order and the next."""
        return self.per_s / self.studies

    @classmethod
    def parse(cls, text: str) -> Rate:
        """`30/min`, `2/s`, `500/h`. Raises Rejected RATE_INVALID."""
        match = re.fullmatch(r"([1-9]\d{0,5})/(s|min|h)", text.strip())
        if match is None:
            raise Rejected(
                "RATE_INVALID", f"{text[:20]!r} is no rate. Expected e.g. 30/min, 2/s or 500/h."
            )
        per_s = {"s": 1.0, "min": 60.0, "h": 3600.0}[match[2]]
        return cls(studies=int(match[1]), per_s=per_s)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Hours of the day, by this machine's clock; it may go over midnight."""

    begins: clock_time
    ends: clock_time

    def is_open(self, at: clock_time) -> bool:
        """Whether studies may be ordered now."""
        if self.begins <= self.ends:
            return self.begins <= at < self.ends
        return at >= self.begins or at < self.ends

    @classmethod
    def parse(cls, text: str) -> Window:
        """`20:00-06:00`. Raises Rejected WINDOW_INVALID."""
        match = re.fullmatch(rf"({_HOUR_AND_MINUTE})-({_HOUR_AND_MINUTE})", text.strip())
        if match is None or match[1] == match[2]:
            raise Rejected(
                "WINDOW_INVALID",
                f"{text[:20]!r} is no window. Expected two different times of the day, e.g. "
                "20:00-06:00.",
            )
        begins, ends = (clock_time.fromisoformat(match[which]) for which in (1, 2))
        return cls(begins=begins, ends=ends)


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """What is to be ordered, and how politely."""

    peer: Peer
    """It is searched, and fetched from."""
    first: date
    last: date
    """Both are included."""
    modalities: tuple[str, ...] = ()
    """Of which a study has at least one; none: all studies."""
    rate: Rate = Rate(studies=30, per_s=60.0)
    window: Window | None = None
    """None: at any time."""
    outstanding: int = 50
    """So many ordered studies may wait or run at once."""


@dataclass(kw_only=True)
class BackfillProgress:
    """How far it has come."""

    days: int
    """In all."""
    days_done: int = 0
    found: int = 0
    """Studies that the archive has, of the days looked at."""
    known: int = 0
    """Of those, here already."""
    ordered: int = 0
    """Of those, ordered now."""
    truncations: dict[date, Truncation] = field(default_factory=dict)
    """Days of which the archive may have more than it told."""
    waiting_for: str = ""
    """What it waits for now, in words; empty while it works."""


ShowProgress = Callable[[BackfillProgress], None]


def days_between(first: date, last: date) -> Iterator[date]:
    """Each day, both ends included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def backfill(
    wanted: Backfill,
    settings: Settings,
    database: Database,
    *,
    show: ShowProgress = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> BackfillProgress:
    """Order every study of the span that is not known here; the oldest day first.

    An archive that does not answer is waited for. Raises Rejected (DAYS_INVALID, and as
    `order_study`), Transient as `find_day` for what waiting does not mend.
    """
    days = list(days_between(wanted.first, wanted.last))
    if not days:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    progress = BackfillProgress(days=len(days))
    politeness = _Throttle(wanted, database, progress, show, sleep, clock)
    for day in days:
        politeness.wait_for_window()
        found = _find(wanted, settings, database, day, politeness)
        new = _unknown(database, found.studies)
        progress.found += len(found.studies)
        progress.known += len(found.studies) - len(new)
        if found.truncation is not None:
            progress.truncations[day] = found.truncation
        for study in new:
            politeness.wait_until_allowed()
            _order(wanted, study, settings, database, progress)
            show(progress)
        progress.days_done += 1
        show(progress)
    return progress


def _find(
    wanted: Backfill, settings: Settings, database: Database, day: date, politeness: _Throttle
) -> FoundDay:
    """The day's studies; while the archive is away, `pneumo status` says so and we wait."""
    subject, was_away = errors.subject_of(wanted.peer), False
    while True:
        try:
            found = find_day(wanted.peer, settings, day, wanted.modalities)
        except Unavailable as error:
            was_away, code, sentence = True, error.code, error.sentence
            in_transaction(database, lambda s: note_condition(s, subject, code, sentence))  # noqa: B023
            politeness.pause(f"{wanted.peer.name} ({error.code})", ARCHIVE_PAUSE_S)
        else:
            if was_away:
                in_transaction(database, lambda s: end_condition(s, subject))
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


def _order(
    wanted: Backfill,
    study: FoundStudy,
    settings: Settings,
    database: Database,
    progress: BackfillProgress,
) -> None:
    """Never STAT: what is old can wait for what is new."""
    ordered = order_study(
        study.study_instance_uid, peer=wanted.peer.name, database=database, settings=settings
    )
    progress.ordered += ordered.is_new
    progress.known += not ordered.is_new  # it came by another way meanwhile


class _Throttle:
    """Waits for the window, for the rate, for room on the disk, and for what was ordered before."""

    def __init__(
        self,
        wanted: Backfill,
        database: Database,
        progress: BackfillProgress,
        show: ShowProgress,
        sleep: Callable[[float], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._wanted, self._database, self._progress = wanted, database, progress
        self._show, self._sleep, self._clock = show, sleep, clock
        self._next_at: datetime | None = None

    def pause(self, why: str, seconds: float) -> None:
        """Sleep, and let the screen say why."""
        self._progress.waiting_for = why
        self._show(self._progress)
        self._sleep(seconds)
        self._progress.waiting_for = ""

    def wait_for_window(self) -> None:
        """Until the archive's quiet hours."""
        while (opens := self._opens_at()) is not None:
            self.pause(opens, POLL_INTERVAL_S)

    def wait_until_allowed(self) -> None:
        """Until one more study may be ordered, whatever changes while we wait."""
        while True:
            if (opens := self._opens_at()) is not None:
                self.pause(opens, POLL_INTERVAL_S)
            elif (code := self._no_room()) is not None:
                self.pause(f"room on the disk ({code})", POLL_INTERVAL_S)
            elif self._outstanding() >= self._wanted.outstanding:
                self.pause("ordered studies", POLL_INTERVAL_S)
            elif (early_s := self._early_s()) > 0:
                self.pause("the rate" if early_s >= SHOWN_WAIT_S else "", early_s)
            else:
                break
        self._next_at = self._clock() + timedelta(seconds=self._wanted.rate.interval_s)

    def _opens_at(self) -> str | None:
        """When the window opens; None if it is open."""
        window = self._wanted.window
        closed = window is not None and not window.is_open(self._clock().time())
        return f"{window.begins:%H:%M}" if window and closed else None

    def _early_s(self) -> float:
        return (self._next_at - self._clock()).total_seconds() if self._next_at else 0.0

    def _no_room(self) -> str | None:
        """Why nothing can be taken over: what was ordered now would only wait, here or there."""
        with self._database.reading() as session:
            return active_code(session, NO_ROOM_CODES, seen_within_s=STALE_S)

    def _outstanding(self) -> int:
        with self._database.reading() as session:
            return outstanding_orders(session)
