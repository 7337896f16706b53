"""`pneumo coverage`: the archive's studies of some days against what became of them here."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from db.session import Database
from worker.errors import Rejected
from worker.operations.backfill_screen import modalities_of
from worker.operations.screens import wide_console
from worker.pacs.backfilling import days_between
from worker.pacs.coverage import Covered, DayCoverage, cover_day
from worker.peers import read_peers
from worker.settings import Settings


def show_coverage(
    site: Settings,
    *,
    first: date,
    last: date,
    modalities: str,
    peer: str | None = None,
    listing: Path | None = None,
    console: Console | None = None,
) -> int:
    """A line a day and the codes; 0 if everything was predicted or refused, else 1."""
    console = console or wide_console()
    archive = read_peers(site.peers).one_that("search", peer)
    wanted = modalities_of(modalities)
    days = list(days_between(first, last))
    if not days:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    database = Database(site.database_url)
    covered = [cover_day(archive, site, database, day, wanted) for day in days]
    database.dispose()
    total = sum((day.counts for day in covered), Counter[Covered]())
    console.print(_days(covered, total))
    if codes := sum((day.codes for day in covered), Counter[tuple[Covered, str]]()):
        console.print(_codes(codes))
    if listing is not None:
        _write(listing, covered)
        console.print(f"{total[Covered.NEVER_SEEN]} Study Instance UIDs never seen: {listing}")
    settled = total[Covered.PREDICTED] + total[Covered.REFUSED]
    return 0 if settled == total.total() else 1


def _days(covered: list[DayCoverage], total: Counter[Covered]) -> Table:
    table = Table("study date", "in the archive", *(what.value for what in Covered))
    for day in covered:
        table.add_row(day.day.isoformat(), *_numbers(day.counts))
    table.add_section()
    table.add_row("all", *_numbers(total))
    return table


def _numbers(counts: Counter[Covered]) -> list[str]:
    return [str(counts.total()), *(str(counts[what]) for what in Covered)]


def _codes(codes: Counter[tuple[Covered, str]]) -> Table:
    table = Table("became", "code", "studies")
    for (what, code), count in codes.most_common():
        table.add_row(what.value, code, str(count))
    return table


def _write(listing: Path, covered: list[DayCoverage]) -> None:
    """For this user alone: UIDs lead back to patients."""
    try:
        listing.touch(mode=0o600)
        listing.write_text("".join(f"{uid}\n" for day in covered for uid in day.never_seen))
    except OSError as error:
        raise Rejected(
            "LIST_UNWRITABLE", f"The file of --list cannot be written ({error.strerror})."
        ) from None
