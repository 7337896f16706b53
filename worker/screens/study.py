"""`pneumo show STUDY`: everything about one study except its identity."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from db.studies.overview import study_detail
from db.values import AttemptDetail, AuditDetail, InstanceDetail, StudyDetail, StudySummary
from worker.screens.console import (
    COLOUR,
    RESEARCH_ONLY,
    cell,
    counted,
    format_time,
    reading,
    resolve_study_key,
    titled_table,
    wide_console,
)
from worker.settings import Settings


def show_study(settings: Settings, study: str, console: Console | None = None) -> None:
    """Print everything about one study except its identity. Raises Rejected STUDY_UNKNOWN."""
    with reading(settings) as session:
        key = resolve_study_key(session, study)
        detail = study_detail(session, key)
    assert detail is not None  # the same look has found its key
    (console or wide_console()).print(Panel(_study_panel(detail), title=f"Study {key}"))


def _study_panel(detail: StudyDetail) -> Group:
    return Group(
        _summary_lines(detail.summary),
        _instances_table(detail.instances),
        *_predictions(detail.instances),
        _attempts_table(detail.attempts),
        _audit_table(detail.audit),
        Text(RESEARCH_ONLY, style="dim"),
    )


def _table(title: str, *columns: str | Column) -> Table:
    """Make a table whose figures fit into a panel of 80 columns."""
    table = titled_table(title, *columns)
    table.box, table.padding, table.show_edge = box.SIMPLE_HEAD, (0, 0, 0, 0), False
    return table


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
        f"\n{summary.priority.value}, received by {summary.source.value} "
        f"{format_time(summary.received_at)}, revision {summary.revision}, "
        f"{counted(summary.attempts, 'attempt')}"
    )
    if summary.turnaround_seconds is not None:
        text.append(f", turn-around {summary.turnaround_seconds:.2f} s")
    if summary.error_code:
        text.append(f"\n{summary.error_code}: {summary.error_sentence}", style="red")
        if summary.traceback_reference:
            text.append(f" (reference {summary.traceback_reference})", style="red")
    return text


def _instances_table(instances: Sequence[InstanceDetail]) -> Table:
    table = _table(
        "Instances", "no.", "state", "transfer syntax", "modality", "view", "file", "refusal"
    )
    for instance in instances:
        refusal = instance.refusal
        table.add_row(
            str(instance.number),
            _state_of(instance),
            instance.transfer_syntax_name or "",
            instance.modality or "",
            instance.view_position or "",
            f"removed {format_time(instance.file_removed_at)}"
            if instance.file_removed_at
            else "stored",
            Text.assemble((refusal.code, "bold"), f" {refusal.tag or ''}\n{refusal.sentence}")
            if refusal
            else "",
        )
    return table


def _state_of(instance: InstanceDetail) -> str:
    if instance.replaced_in_revision is None:
        return instance.state.value
    return f"{instance.state.value}, replaced in revision {instance.replaced_in_revision}"


def _predictions(instances: Sequence[InstanceDetail]) -> list[Table | Text]:
    """Make one table of predictions, if there are any, and a line for what was done to the pixels."""
    table = _table(
        "Predictions", "id", "no.", "frame", "verdict", "probability", "logit", "distance",
        "model version", "device",
    )  # fmt: skip
    notes = Text()
    for number, prediction in ((i.number, p) for i in instances for p in i.predictions):
        table.add_row(
            f"p{prediction.prediction_id}",
            str(number),
            str(prediction.frame_number),
            Text(prediction.verdict.value, style=COLOUR[prediction.verdict]),
            f"{prediction.probability:.6f}",
            f"{prediction.logit:+.4f}",
            "" if prediction.distance is None else f"{prediction.distance:.3f}",
            prediction.model_name,
            prediction.device,
        )
        steps = [
            f"{key}={value}"
            for key in ("voi", "window_center", "window_width", "inverted")
            if (value := prediction.normalisation.get(key)) is not None
        ]
        notes.append(f"no. {number}, frame {prediction.frame_number}: {', '.join(steps)}\n")
        for warning in prediction.warnings:
            sentence = warning.get("sentence", warning) if isinstance(warning, dict) else warning
            notes.append(f"{sentence}\n", style="yellow")
    notes.rstrip()
    return [table, notes] if table.rows else []


def _attempts_table(attempts: Sequence[AttemptDetail]) -> Table:
    table = _table(
        "Attempts (seconds)", "no.", "lane", "outcome", "read", "normalise", "infer", "store",
        "total", "started",
    )  # fmt: skip
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
    table = _table("Audit", "time (UTC)", "event", "actor", Column("detail", overflow="fold"))
    for record in records:
        detail = ", ".join(f"{key}={cell(value)}" for key, value in record.detail.items())
        table.add_row(format_time(record.occurred_at), record.event, record.actor, detail)
    return table
