"""`pneumo status`: what waits, what runs, who works, and what an operator should do.

Nothing here changes anything, and nothing personal is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from db.deliveries.overview import destination_summaries
from db.ledger.conditions import active_conditions
from db.ledger.heartbeats import live_workers
from db.studies.orders import unfetched_orders
from db.studies.overview import overview
from db.studies.retention import count_kept_as_outstanding
from db.values import LiveWorker, Overview
from db.vocabulary.enums import Lane, StudyState, Verdict
from worker.intake.drop_folder import count_refused_folders
from worker.intake.watched_folder import count_refused_files
from worker.messaging.broker_address import broker_address
from worker.screens.console import (
    COLOUR,
    condition_notices,
    counted,
    format_time,
    reading,
    titled_table,
    warning,
    wide_console,
)
from worker.screens.deliveries import deliveries_table, delivery_notices, retained_file_notices
from worker.settings import Settings
from worker.storage.disk import DiskLevel, disk_monitor_of, disk_space_of

LIVE_WORKER_MAX_AGE_S = 30.0
"""A worker counts as alive if its last heartbeat is no older (it sends one every 5 s)."""


def show_status(settings: Settings, console: Console | None = None) -> None:
    """Print what waits, what runs, who works, and what needs a person."""
    console = console or wide_console()
    with reading(settings) as session:
        studies = overview(session)
        workers = live_workers(session, within_s=LIVE_WORKER_MAX_AGE_S)
        conditions = active_conditions(session)
        destinations = destination_summaries(session)
        unfetched = unfetched_orders(session)
        kept = (
            count_kept_as_outstanding(session, keep_days=settings.keep_files_days)
            if destinations and settings.keep_files_days
            else None
        )
    console.print(_studies_table(studies), _workers_table(workers))
    if destinations:
        console.print(deliveries_table(destinations))
    console.print(_broker_line(settings))
    console.print(_disk_line(settings))
    for notice in [
        *_study_notices(studies, workers, unfetched),
        *_refusal_notices(settings),
        *condition_notices(conditions),
        *delivery_notices(destinations, workers),
        *retained_file_notices(kept),
    ]:
        console.print(notice)


def _studies_table(studies: Overview) -> Table:
    table = titled_table("Studies")
    for heading in ("state", "studies", "lane", "waiting", "verdict", "results"):
        table.add_column(heading, justify="right" if heading in _COUNTS else "left")
    rows = zip(StudyState, _padded(Lane), _padded(Verdict), strict=False)
    for state, lane, verdict in rows:
        table.add_row(
            state.value,
            str(studies.by_state.get(state, 0)),
            lane.value if lane else "",
            str(studies.waiting_by_lane.get(lane, 0)) if lane else "",
            Text(verdict.value, style=COLOUR[verdict]) if verdict else "",
            str(studies.by_verdict.get(verdict, 0)) if verdict else "",
        )
    return table


_COUNTS = {"studies", "waiting", "results"}


def _padded(members: Iterable) -> list:
    """Return the members, then None for the rest of the table's rows."""
    return [*members, *[None] * len(StudyState)]


def _workers_table(workers: Sequence[LiveWorker]) -> Table:
    table = titled_table("Workers", "worker", "lanes", "device", "model version", "since", "seen")
    for worker in workers:
        table.add_row(
            worker.worker_name,
            ",".join(worker.lanes),
            worker.device,
            _models_of(worker),
            format_time(worker.started_at),
            f"{(datetime.now(UTC) - worker.seen_at).total_seconds():.0f} s ago",
        )
    return table


def _models_of(worker: LiveWorker) -> str:
    """Name the model that is loaded, and count what its shadow has done."""
    if worker.shadow is None:
        return worker.model_name or ""
    shadow = worker.shadow
    return (
        f"{worker.model_name}\nshadow {shadow.model_name}: {counted(shadow.stored, 'study')}, "
        f"{shadow.failed} failed, {shadow.skipped} skipped"
    )


def _broker_line(settings: Settings) -> str:
    address = broker_address(settings)
    client = redis.Redis.from_url(address, socket_connect_timeout=1, socket_timeout=1)
    try:
        waiting = {lane.value: client.llen(settings.broker_prefix + lane.value) for lane in Lane}
    except redis.RedisError:
        return (
            "[yellow]Broker: no answer.[/] Studies are accepted all the same and wait in SQL; start "
            "the broker, or `pneumo up`."
        )
    finally:
        client.close()
    return "Broker: " + ", ".join(
        f"{counted(count, 'message')} in {lane}" for lane, count in waiting.items()
    )


def _disk_line(settings: Settings) -> str:
    """Room as this process sees it, whether or not a relay runs that would note a condition."""
    try:
        space = disk_space_of(settings.intake_dir)
    except OSError:
        return "[bold red]Disk: the intake folder cannot be reached.[/] Check that it is mounted."
    consequence = {
        DiskLevel.ENOUGH: "",
        DiskLevel.LOW: " [yellow]That is little.[/]",
        DiskLevel.NEARLY_FULL: " [bold red]No new studies are accepted.[/]",
    }
    return f"Disk: {space}.{consequence[disk_monitor_of(settings).level()]}"


def _study_notices(
    studies: Overview, workers: Sequence[LiveWorker], unfetched: Mapping[str, int]
) -> list[Text]:
    """Say what an operator should do now; nothing when all is well."""
    served = {lane for worker in workers for lane in worker.lanes}
    notices = [
        warning(
            f"No running worker serves lane {lane.value} ({counted(count, 'study')} waiting).",
            f"Start one: celery -A worker worker -Q {lane.value} "
            f"{'-P solo' if lane is Lane.SUSPECT else '-P threads -c 4'}",
        )
        for lane, count in studies.waiting_by_lane.items()
        if count and lane.value not in served
    ]
    if parked := studies.by_state.get(StudyState.PARKED, 0):
        notices.append(
            warning(
                f"Parked: {counted(parked, 'study')}.",
                "`pneumo report` gives the reasons. Once the cause is fixed, run "
                "`pneumo retry --parked`.",
            )
        )
    if oldest := studies.oldest_waiting_seconds:
        notices.append(Text(f"The oldest study has been waiting for {oldest:.0f} s."))
    notices += [
        Text(f"Still to be fetched from {name}: {counted(count, 'ordered study')}.")
        for name, count in unfetched.items()
    ]
    return notices


def _refusal_notices(settings: Settings) -> list[Text]:
    """Report what bridges or the watched folder brought and what could not be accepted."""
    notices = []
    if folders := count_refused_folders(settings):
        notices.append(
            warning(
                f"Refused: {counted(folders, 'folder')} handed over by a bridge.",
                "Find each with its reasons in handed-over/refused of the intake folder "
                "(docs/bridges.md).",
            )
        )
    if settings.watch_folder and (files := count_refused_files(settings.watch_folder)):
        notices.append(
            warning(
                f"Refused: {counted(files, 'file')} of the watched folder.",
                "Find each with its reason in the folder `refused` there (docs/hospital.md).",
            )
        )
    return notices
