"""What `pneumo status`, `show`, `report`, `audit verify` and `model list` print.

Reads rows, prints tables; nothing here changes anything, and nothing personal is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from db.deliveries.overview import destination_summaries
from db.engine.session import Database
from db.ledger.audit import verify_chains
from db.ledger.conditions import active_conditions
from db.ledger.heartbeats import live_workers
from db.ledger.model_registry import list_models
from db.studies.orders import unfetched_orders
from db.studies.overview import overview
from db.studies.retention import count_kept_as_outstanding
from db.values import (
    LiveWorker,
    Overview,
)
from db.vocabulary.enums import Lane, StudyState, Verdict
from worker.intake.drop_folder import count_refused_folders
from worker.intake.watched_folder import count_refused_files
from worker.screens.console import COLOUR, condition_notices, format_time, wide_console
from worker.screens.deliveries import deliveries_table, delivery_notices, retained_file_notices
from worker.settings import Settings
from worker.storage.disk import DiskLevel, disk_monitor_of, disk_space_of

LIVE_WORKER_MAX_AGE_S = 30.0
"""A worker that beat within so long counts as alive (it beats every 5 s)."""


def show_status(settings: Settings, console: Console | None = None) -> None:
    """What waits, what runs, who works, what needs a person."""
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        glance = overview(session)
        workers = live_workers(session, within_s=LIVE_WORKER_MAX_AGE_S)
        wrong = active_conditions(session)
        destinations = destination_summaries(session)
        unfetched = unfetched_orders(session)
        kept = (
            count_kept_as_outstanding(session, keep_days=settings.keep_files_days)
            if destinations and settings.keep_files_days
            else None
        )
    database.dispose()
    console.print(_studies_table(glance), _workers_table(workers))
    if destinations:
        console.print(deliveries_table(destinations))
    console.print(_broker_line(settings))
    console.print(_disk_line(settings))
    for notice in [
        *_notices(glance, workers),
        *_handover_notices(settings),
        *_watch_notices(settings),
        *_order_notices(unfetched),
        *condition_notices(wrong),
        *delivery_notices(destinations, workers),
        *retained_file_notices(kept),
    ]:
        console.print(notice)


def show_audit_report(settings: Settings, console: Console | None = None) -> int:
    """Recompute the chain; 1 if a record does not fit."""
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        report = verify_chains(session)
    database.dispose()
    if report.ok:
        console.print(f"[green]The audit trail is unbroken[/]: {report.records} records verified.")
        return 0
    console.print(f"[bold red]The audit trail is broken.[/] {report.first_broken}")
    return 1


def show_models(settings: Settings, console: Console | None = None) -> None:
    """Registered model versions."""
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        models = list_models(session)
    database.dispose()
    table = Table("model version", "role", "threshold", "temperature", "digest", "registered")
    for model in models:
        table.add_row(
            model.name,
            "[green]active[/]" if model.is_active else "shadow" if model.is_shadow else "",
            f"{model.threshold:.4f}",
            f"{model.temperature:.4f}",
            model.bundle_digest[:12],
            format_time(model.registered_at),
        )
    console.print(table)


def _studies_table(glance: Overview) -> Table:
    table = Table(title="Studies", title_justify="left")
    for heading in ("state", "studies", "lane", "waiting", "verdict", "results"):
        table.add_column(heading, justify="right" if heading in _COUNTS else "left")
    rows = zip(StudyState, _padded(Lane), _padded(Verdict), strict=False)
    for state, lane, verdict in rows:
        table.add_row(
            state.value,
            str(glance.by_state.get(state, 0)),
            lane.value if lane else "",
            str(glance.waiting_by_lane.get(lane, 0)) if lane else "",
            Text(verdict.value, style=COLOUR[verdict]) if verdict else "",
            str(glance.by_verdict.get(verdict, 0)) if verdict else "",
        )
    return table


_COUNTS = {"studies", "waiting", "results"}


def _padded(members: Iterable) -> list:
    """The members, then None for the rest of the table's rows."""
    return [*members, *[None] * len(StudyState)]


def _workers_table(workers: Sequence[LiveWorker]) -> Table:
    table = Table("worker", "lanes", "device", "model version", "since", "seen", title="Workers")
    table.title_justify = "left"
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
    """The model that it has loaded, and how its shadow fares."""
    if worker.shadow is None:
        return worker.model_name or ""
    shadow = worker.shadow
    return (
        f"{worker.model_name}\nshadow {shadow.model_name}: {shadow.stored} studies, "
        f"{shadow.failed} failed, {shadow.skipped} skipped"
    )


def _broker_line(settings: Settings) -> str:
    client = redis.Redis.from_url(settings.broker_url, socket_connect_timeout=1, socket_timeout=1)
    try:
        waiting = {lane.value: client.llen(settings.broker_prefix + lane.value) for lane in Lane}
    except redis.RedisError:
        return (
            "[yellow]Broker: no answer.[/] Studies are taken over all the same and wait in SQL; "
            "start the broker, or `pneumo up`."
        )
    finally:
        client.close()
    return "Broker: " + ", ".join(
        f"{count} message(s) in {lane}" for lane, count in waiting.items()
    )


def _disk_line(settings: Settings) -> str:
    """Room as this process sees it, whether or not a relay runs that would note a condition."""
    try:
        room = disk_space_of(settings.intake_dir)
    except OSError:
        return "[bold red]Disk: the intake folder cannot be reached.[/] Check that it is mounted."
    takes = {
        DiskLevel.ENOUGH: "",
        DiskLevel.LOW: " [yellow]That is little.[/]",
        DiskLevel.NEARLY_FULL: " [bold red]No new studies are taken over.[/]",
    }
    return f"Disk: {room}.{takes[disk_monitor_of(settings).level()]}"


def _notices(glance: Overview, workers: Sequence[LiveWorker]) -> list[str]:
    """What an operator should do now; nothing when all is well."""
    served = {lane for worker in workers for lane in worker.lanes}
    notices = [
        f"[bold red]{count} studies wait in lane {lane.value}, and no living worker serves it.[/] "
        f"Start one: celery -A worker worker -Q {lane.value}"
        + (" -P solo" if lane is Lane.SUSPECT else " -P threads -c 4")
        for lane, count in glance.waiting_by_lane.items()
        if count and lane.value not in served
    ]
    if parked := glance.by_state.get(StudyState.PARKED, 0):
        notices.append(
            f"[bold red]{parked} parked.[/] `pneumo report` says why; once the cause is mended: "
            "`pneumo retry --parked`."
        )
    if glance.oldest_waiting_seconds:
        notices.append(f"The oldest waiting study waits for {glance.oldest_waiting_seconds:.0f} s.")
    return notices


def _handover_notices(settings: Settings) -> list[str]:
    """What bridges handed over and could not be taken over."""
    refused = count_refused_folders(settings)
    if not refused:
        return []
    return [
        (
            f"[bold red]{refused} folder(s) handed over by message were refused.[/] Each lies with its "
            "reasons in handed-over/refused of the intake folder (docs/bridges.md)."
        )
    ]


def _watch_notices(settings: Settings) -> list[str]:
    """What lay in the watched folder and could not be taken over."""
    refused = count_refused_files(settings.watch_folder) if settings.watch_folder else 0
    if not refused:
        return []
    said = f"[bold red]{refused} file(s) of the watched folder were refused.[/]"
    return [f"{said} Each lies with its reason in its folder `refused` (docs/hospital.md)."]


def _order_notices(unfetched: Mapping[str, int]) -> list[str]:
    """Studies that are ordered and not here yet."""
    return [
        f"{count} ordered studies are still to be fetched from {name}."
        for name, count in unfetched.items()
    ]
