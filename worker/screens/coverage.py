"""`pneumo coverage`: the archive's studies of some days, and what became of them here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from worker.archive.backfill import days_between
from worker.archive.coverage import CoverageStatus, DayCoverage, cover_day
from worker.errors import Rejected
from worker.peers.peers_file import Peer, read_peers
from worker.screens.archive_days import modalities_of, truncation_notice
from worker.screens.console import counted, opened, wide_console
from worker.settings import Settings

DAYS_SHOWN = 62
"""Of more days a line stands for a month."""


def show_coverage(
    settings: Settings,
    *,
    first: date,
    last: date,
    modality: str,
    peer: str | None = None,
    listing: Path | None = None,
    console: Console | None = None,
) -> int:
    """Print a line a day (or a month) and the codes; return 0 if everything was predicted or refused."""
    console = console or wide_console()
    archive = read_peers(settings.peers).single_with_role("search", peer)
    modalities = modalities_of(modality)
    days = list(days_between(first, last))
    if not days:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    covered = _cover(archive, settings, days, modalities, console)
    total = sum((day.counts for day in covered), Counter[CoverageStatus]())
    console.print(coverage_table(covered, total))
    if codes := sum((day.codes for day in covered), Counter[tuple[CoverageStatus, str]]()):
        console.print(_codes_table(codes))
    if listing is not None:
        _write(listing, covered)
        never_seen = counted(total[CoverageStatus.NEVER_SEEN], "Study Instance UID")
        console.print(f"Wrote {never_seen} never seen to {listing}.")
    truncations = {day.day: day.truncation for day in covered if day.truncation is not None}
    if truncations:
        console.print(truncation_notice(archive.name, truncations))
    return 0 if _settled(total) == total.total() and not truncations else 1


def _cover(
    archive: Peer,
    settings: Settings,
    days: Sequence[date],
    modalities: Sequence[str],
    console: Console,
) -> list[DayCoverage]:
    """Ask day by day, with a bar on a terminal."""
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    with opened(settings) as database, bars:
        return [
            cover_day(archive, settings, database, day, modalities)
            for day in bars.track(days, description=f"asking {archive.name}")
        ]


def coverage_table(covered: Sequence[DayCoverage], total: Counter[CoverageStatus]) -> Table:
    """One line for each day, or for each month where there are many, and their sum."""
    by_month = len(covered) > DAYS_SHOWN
    table = Table(Column("month" if by_month else "study day", no_wrap=True))
    for heading in ("PACS", *(status.value for status in CoverageStatus), "done"):
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
    """Zeros are dim, what needs attention stands out."""
    cells = [Text(str(counts.total()))]
    for status in CoverageStatus:
        style = "dim" if not counts[status] else _STYLE.get(status, "")
        cells.append(Text(str(counts[status]), style))
    return [*cells, Text(_share(counts))]


_STYLE = {CoverageStatus.FAILED: "bold red", CoverageStatus.NEVER_SEEN: "yellow"}


def _share(counts: Counter[CoverageStatus]) -> str:
    """Whole per cents, rounded down; 100 only where nothing is open."""
    return f"{100 * _settled(counts) // counts.total()} %" if counts.total() else ""


def _settled(counts: Counter[CoverageStatus]) -> int:
    return counts[CoverageStatus.PREDICTED] + counts[CoverageStatus.REFUSED]


def _codes_table(codes: Counter[tuple[CoverageStatus, str]]) -> Table:
    table = Table("status", "code", Column("studies", justify="right"))
    for (status, code), count in codes.most_common():
        table.add_row(status.value, code, str(count))
    return table


def _write(listing: Path, covered: Sequence[DayCoverage]) -> None:
    """Write the UIDs for this user alone: they lead back to patients."""
    try:
        listing.touch(mode=0o600)
        listing.write_text("".join(f"{uid}\n" for day in covered for uid in day.never_seen))
    except OSError as error:
        raise Rejected(
            "LIST_UNWRITABLE", f"The file of --list cannot be written ({error.strerror})."
        ) from None
