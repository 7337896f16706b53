"""What `pneumo show STUDY` prints: everything about one study but its identity."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from db.engine.session import Database
from db.studies.overview import find_study, study_detail
from db.values import AttemptDetail, AuditDetail, InstanceDetail, StudyDetail, StudySummary
from worker.screens.console import COLOUR, RESEARCH_ONLY, cell, format_time, wide_console
from worker.settings import Settings


def show_study(settings: Settings, asked: str, console: Console | None = None) -> int:
    """Everything about one study but its identity; 1 if there is no such study."""
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        key = find_study(session, asked)
        detail = study_detail(session, key) if key else None
    database.dispose()
    if detail is None:
        console.print("No study has this key or UID. `pneumo report` lists the studies.")
        return 1
    console.print(Panel(_study_panel(detail), title=f"Study {detail.summary.study_key}"))
    return 0


def _study_panel(detail: StudyDetail) -> Group:
    return Group(
        _summary_lines(detail.summary),
        _instances_table(detail.instances),
        *_predictions_tables(detail.instances),
        _attempts_table(detail.attempts),
        _audit_table(detail.audit),
        Text(RESEARCH_ONLY, style="dim"),
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
        f"{summary.attempts} attempt(s), received {format_time(summary.received_at)}"
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
        "no.", "state", "transfer syntax", "modality", "view", "file", "why not", title="Instances"
    )
    table.title_justify = "left"
    for instance in instances:
        refusal = instance.refusal
        table.add_row(
            str(instance.number),
            _state_of(instance),
            instance.transfer_syntax_name or "",
            instance.modality or "",
            instance.view_position or "",
            f"left {format_time(instance.file_removed_at)}" if instance.file_removed_at else "here",
            Text.assemble((refusal.code, "bold"), f" {refusal.tag or ''}\n{refusal.sentence}")
            if refusal
            else "",
        )
    return table


def _state_of(instance: InstanceDetail) -> str:
    if instance.replaced_in_revision is None:
        return instance.state.value
    return f"{instance.state.value}, replaced in revision {instance.replaced_in_revision}"


def _predictions_tables(instances: Sequence[InstanceDetail]) -> list[Table]:
    """One table of predictions, if there are any."""
    rows = [(i.number, p) for i in instances for p in i.predictions]
    if not rows:
        return []
    table = Table(
        "no.", "frame", "verdict", "probability", "logit", "distance", "model version", "device",
        "pixels",
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
            "" if prediction.distance is None else f"{prediction.distance:.3f}",
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
            format_time(attempt.started_at),
        )
    return table


def _audit_table(records: Sequence[AuditDetail]) -> Table:
    table = Table("when (UTC)", "event", "actor", "detail", title="Audit")
    table.title_justify = "left"
    for record in records:
        detail = ", ".join(f"{key}={cell(value)}" for key, value in record.detail.items())
        table.add_row(format_time(record.occurred_at), record.event, record.actor, detail)
    return table
