"""`pneumo coverage`: the archive's studies of some days against what became of them here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from db.engine.session import Database
from worker.archive.backfill import days_between
from worker.archive.coverage import CoverageStatus, DayCoverage, cover_day
from worker.errors import Rejected
from worker.peers.peers_file import Peer, read_peers
from worker.screens.backfill import modalities_of
from worker.screens.console import wide_console
from worker.screens.truncated_days import truncation_notice
from worker.settings import Settings

DAYS_SHOWN = 62
"""Of more days a line stands for a month."""


def show_coverage(
    settings: Settings,
    *,
    first: date,
    last: date,
    modalities: str,
    peer: str | None = None,
    listing: Path | None = None,
    console: Console | None = None,
) -> int:
    """A line a day (or a month) and the codes; 0 if everything was predicted or refused, else 1."""
    console = console or wide_console()
    archive = read_peers(settings.peers).single_with_role("search", peer)
    wanted = modalities_of(modalities)
    days = list(days_between(first, last))
    if not days:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    covered = _cover(archive, settings, days, wanted, console)
    total = sum((day.counts for day in covered), Counter[CoverageStatus]())
    console.print(_days(covered, total))
    if codes := sum((day.codes for day in covered), Counter[tuple[CoverageStatus, str]]()):
        console.print(_codes(codes))
    if listing is not None:
        _write(listing, covered)
        console.print(
            f"{total[CoverageStatus.NEVER_SEEN]} Study Instance UIDs never seen: {listing}"
        )
    doubts = {day.day: day.truncation for day in covered if day.truncation is not None}
    if doubts:
        console.print(truncation_notice(archive.name, doubts))
    return 0 if _settled(total) == total.total() and not doubts else 1


def _cover(
    archive: Peer, settings: Settings, days: Sequence[date], wanted: Sequence[str], console: Console
) -> list[DayCoverage]:
    """Day by day, with a bar on a terminal."""
    database = Database(settings.database_url)
    covered = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(f"asking {archive.name}", total=len(days))
        for day in days:
            covered.append(cover_day(archive, settings, database, day, wanted))
            bars.advance(bar)
    database.dispose()
    return covered


def _days(covered: Sequence[DayCoverage], total: Counter[CoverageStatus]) -> Table:
    by_month = len(covered) > DAYS_SHOWN
    table = Table(Column("month" if by_month else "study day", no_wrap=True))
    for heading in ("PACS", *(what.value for what in CoverageStatus), "done"):
        table.add_column(heading, justify="right", no_wrap=" " not in heading)
    lines: dict[str, Counter[CoverageStatus]] = {}
    for day in covered:
        label = day.day.strftime("%Y-%m") if by_month else day.day.isoformat()
        lines.setdefault(label, Counter()).update(day.counts)
    for label, counts in lines.items():
        table.add_row(label, *_numbers(counts))
    table.add_section()
    table.add_row("all", *_numbers(total))
    return table


def _numbers(counts: Counter[CoverageStatus]) -> list[Text]:
    """Zeros step back, what needs somebody stands out."""
    cells = [Text(str(counts.total()))]
    for what in CoverageStatus:
        style = "dim" if not counts[what] else _STYLE.get(what, "")
        cells.append(Text(str(counts[what]), style))
    return [*cells, Text(_share(counts))]


_STYLE = {CoverageStatus.FAILED: "bold red", CoverageStatus.NEVER_SEEN: "yellow"}


def _share(counts: Counter[CoverageStatus]) -> str:
    """Whole per cents; 100 only where nothing is open."""
    return f"{100 * _settled(counts) // counts.total()} %" if counts.total() else ""


def _settled(counts: Counter[CoverageStatus]) -> int:
    return counts[CoverageStatus.PREDICTED] + counts[CoverageStatus.REFUSED]


def _codes(codes: Counter[tuple[CoverageStatus, str]]) -> Table:
    table = Table("became", "code")
    table.add_column("studies", justify="right")
    for (what, code), count in codes.most_common():
        table.add_row(what.value, code, str(count))
    return table


def _write(listing: Path, covered: Sequence[DayCoverage]) -> None:
    """For this user alone: UIDs lead back to patients."""
    try:
        listing.touch(mode=0o600)
        listing.write_text("".join(f"{uid}\n" for day in covered for uid in day.never_seen))
    except OSError as error:
        raise Rejected(
            "LIST_UNWRITABLE", f"The file of --list cannot be written ({error.strerror})."
        ) from None
