"""What `pneumo status`, `show`, `report`, `audit verify` and `model list` print.

Reads rows, prints tables; nothing here changes anything, and nothing personal is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from db.audit import verify
from db.enums import Lane, StudyState, Verdict
from db.heartbeats import live_workers
from db.overview import find_study, overview, study_detail, view_rows
from db.records import (
    AttemptDetail,
    AuditDetail,
    InstanceDetail,
    LiveWorker,
    Overview,
    StudyDetail,
    StudySummary,
)
from db.registry import list_models
from db.session import Database
from worker.errors import Rejected
from worker.settings import Settings

SEEN_WITHIN_S = 30.0
"""A worker that beat within so long counts as alive (it beats every 5 s)."""

COLOUR = {
    Verdict.POSITIVE: "bold yellow",
    Verdict.NEGATIVE: "green",
    Verdict.REJECTED: "cyan",
    Verdict.FAILED: "bold red",
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """How `pneumo report` prints one of the analysts' views."""

    view: str
    """Its name in SQL."""
    title: str
    """What it is, for a person."""
    columns: tuple[str, ...] = ()
    """The columns that fit a terminal; empty: all. SQL shows the rest."""


REPORT = (
    Page(
        view="v1_studies",
        title="Studies",
        columns=(
            "study_key", "priority", "state", "verdict", "probability", "model_version",
            "instances", "error_code", "turnaround_seconds",
        ),
    ),
    Page(
        view="v1_predictions",
        title="Predictions",
        columns=(
            "study_key", "instance_number", "verdict", "probability", "logit", "model_version",
            "device", "view_position",
        ),
    ),
    Page(
        view="v1_refusals_by_code",
        title="Refusals by code",
        columns=("refusal_code", "refusal_step", "refusal_tag", "instances", "studies"),
    ),
    Page(view="v1_turnaround_by_priority", title="Turn-around by priority (seconds)"),
)  # fmt: skip
"""What `pneumo report` prints, in order."""

NEVER_CUT = {"study_key", "model_version", "probability", "refusal_code"}
"""Columns that are of no use in part."""
PLAIN_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where rich would assume 80."""

REPORT_ROWS = 20
"""Newest rows printed of a long view."""


def wide_console() -> Console:
    """Standard output: a terminal as wide as it is, anything else wide enough for tables."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def show_status(site: Settings, console: Console | None = None) -> None:
    """What waits, what runs, who works, what needs a person."""
    console = console or wide_console()
    database = Database(site.database_url)
    with database.reading() as session:
        glance = overview(session)
        workers = live_workers(session, within_s=SEEN_WITHIN_S)
    database.dispose()
    console.print(_studies_table(glance), _workers_table(workers))
    console.print(_broker_line(site))
    for notice in _notices(glance, workers):
        console.print(notice)


def show_study(site: Settings, asked: str, console: Console | None = None) -> int:
    """Everything about one study but its identity; 1 if there is no such study."""
    console = console or wide_console()
    database = Database(site.database_url)
    with database.reading() as session:
        key = find_study(session, asked)
        detail = study_detail(session, key) if key else None
    database.dispose()
    if detail is None:
        console.print("No study has this key or UID. `pneumo report` lists the studies.")
        return 1
    console.print(Panel(_study_panel(detail), title=f"Study {detail.summary.study_key}"))
    return 0


def show_report(site: Settings, console: Console | None = None) -> None:
    """The analysts' views, newest rows first where there are many."""
    console = console or wide_console()
    database = Database(site.database_url)
    with database.reading() as session:
        for page in REPORT:
            console.print(_view_table(page, *view_rows(session, page.view)))
    database.dispose()


def show_audit_report(site: Settings, console: Console | None = None) -> int:
    """Recompute the chain; 1 if a record does not fit."""
    console = console or wide_console()
    database = Database(site.database_url)
    with database.reading() as session:
        report = verify(session)
    database.dispose()
    if report.ok:
        console.print(f"[green]The audit trail is unbroken[/]: {report.records} records verified.")
        return 0
    console.print(f"[bold red]The audit trail is broken.[/] {report.first_broken}")
    return 1


def show_models(site: Settings, console: Console | None = None) -> None:
    """Registered model versions."""
    console = console or wide_console()
    database = Database(site.database_url)
    with database.reading() as session:
        models = list_models(session)
    database.dispose()
    table = Table("model version", "active", "threshold", "temperature", "digest", "registered")
    for model in models:
        table.add_row(
            model.name,
            "[green]active[/]" if model.is_active else "",
            f"{model.threshold:.4f}",
            f"{model.temperature:.4f}",
            model.bundle_digest[:12],
            _moment(model.registered_at),
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
            worker.model_name or "",
            _moment(worker.started_at),
            f"{(datetime.now(UTC) - worker.seen_at).total_seconds():.0f} s ago",
        )
    return table


def _broker_line(site: Settings) -> str:
    client = redis.Redis.from_url(site.broker_url, socket_connect_timeout=1, socket_timeout=1)
    try:
        waiting = {lane.value: client.llen(site.broker_prefix + lane.value) for lane in Lane}
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


def _study_panel(detail: StudyDetail) -> Group:
    return Group(
        _summary_lines(detail.summary),
        _instances_table(detail.instances),
        *_predictions_tables(detail.instances),
        _attempts_table(detail.attempts),
        _audit_table(detail.audit),
        Text("For research until cleared where it is used.", style="dim"),
    )


def _summary_lines(summary: StudySummary) -> Text:
    text = Text()
    if summary.verdict:
        text.append(summary.verdict.value.upper(), style=COLOUR[summary.verdict])
        if summary.probability is not None and summary.threshold is not None:
            text.append(
                f"  probability {summary.probability:.6f} at operating point "
                f"{summary.threshold:.4f} by {summary.model_name}"
            )
    else:
        text.append(summary.state.value.upper())
    text.append(
        f"\n{summary.priority.value}, came by {summary.source.value}, revision {summary.revision}, "
        f"{summary.attempts} attempt(s), received {_moment(summary.received_at)}"
    )
    if summary.turnaround_seconds is not None:
        text.append(f", turn-around {summary.turnaround_seconds:.2f} s")
    if summary.error_code:
        text.append(f"\n{summary.error_code}: {summary.error_sentence}", style="red")
        if summary.traceback_reference:
            text.append(f" (reference {summary.traceback_reference})", style="red")
    return text


def _instances_table(instances: Sequence[InstanceDetail]) -> Table:
    table = Table(
        "no.", "state", "transfer syntax", "modality", "view", "why not", title="Instances"
    )
    table.title_justify = "left"
    for instance in instances:
        refusal = instance.refusal
        table.add_row(
            str(instance.number),
            instance.state.value,
            instance.transfer_syntax_name or "",
            instance.modality or "",
            instance.view_position or "",
            f"[bold]{refusal.code}[/] {refusal.tag or ''}\n{refusal.sentence}" if refusal else "",
        )
    return table


def _predictions_tables(instances: Sequence[InstanceDetail]) -> list[Table]:
    """One table of predictions, if there are any."""
    rows = [(i.number, p) for i in instances for p in i.predictions]
    if not rows:
        return []
    table = Table(
        "no.", "frame", "verdict", "probability", "logit", "model version", "device", "pixels",
        title="Predictions",
    )  # fmt: skip
    table.title_justify = "left"
    for number, prediction in rows:
        done = prediction.normalisation
        told = [
            f"{key}={done[key]}"
            for key in ("voi", "window_center", "window_width", "inverted")
            if done.get(key) is not None
        ]
        warned = [
            str(w.get("sentence", w) if isinstance(w, dict) else w) for w in prediction.warnings
        ]
        table.add_row(
            str(number),
            str(prediction.frame_number),
            Text(prediction.verdict.value, style=COLOUR[prediction.verdict]),
            f"{prediction.probability:.6f}",
            f"{prediction.logit:+.4f}",
            prediction.model_name,
            prediction.device,
            "\n".join([", ".join(told), *warned]),
        )
    return [table]


def _attempts_table(attempts: Sequence[AttemptDetail]) -> Table:
    table = Table(
        "no.",
        "lane",
        "outcome",
        "read",
        "normalise",
        "infer",
        "store",
        "total",
        "started",
        title="Attempts (seconds)",
    )
    table.title_justify = "left"
    for attempt in attempts:
        seconds = (
            attempt.read_seconds, attempt.normalise_seconds, attempt.inference_seconds,
            attempt.store_seconds, attempt.total_seconds,
        )  # fmt: skip
        table.add_row(
            str(attempt.attempt),
            attempt.lane.value,
            attempt.outcome + (f" {attempt.error_code}" if attempt.error_code else ""),
            *("" if value is None else f"{value:.3f}" for value in seconds),
            _moment(attempt.started_at),
        )
    return table


def _audit_table(records: Sequence[AuditDetail]) -> Table:
    table = Table("when (UTC)", "event", "actor", "detail", title="Audit")
    table.title_justify = "left"
    for record in records:
        detail = ", ".join(f"{key}={_cell(value)}" for key, value in record.detail.items())
        table.add_row(_moment(record.occurred_at), record.event, record.actor, detail)
    return table


def _view_table(page: Page, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    places = [columns.index(column) for column in page.columns or columns]
    shown = rows[:REPORT_ROWS]
    count = f"newest {len(shown)} of {len(rows)} rows" if len(rows) > len(shown) else "all rows"
    table = Table(title=page.title, caption=f"{count} of {page.view}")
    table.title_justify = table.caption_justify = "left"
    for place in places:
        name = columns[place]
        table.add_column(name.replace("_", " "), no_wrap=name in NEVER_CUT)
    for row in shown:
        table.add_row(*[_cell(row[place]) for place in places])
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return _moment(value)
    return _short(value)


def _short(value: object) -> str:
    """Keys and digests by their first twelve digits."""
    text = str(value)
    return text[:12] if len(text) in (32, 64) and text.isalnum() else text


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def one_study(database: Database, asked: str) -> str:
    """The study key meant by a key, the beginning of one, or a Study Instance UID."""
    with database.reading() as session:
        key = find_study(session, asked)
    if key is None:
        raise Rejected(
            "STUDY_UNKNOWN", "No study has this key or UID. `pneumo report` lists the studies."
        )
    return key
