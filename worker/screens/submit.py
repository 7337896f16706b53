"""`pneumo enqueue` and `pneumo pull`: submit studies, print what became of each, wait if asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from db.engine.session import Database
from db.values import Acceptance, StudySummary
from db.vocabulary.enums import InstanceReceipt, Priority, StudyState, Verdict
from worker.archive.order import order_study
from worker.intake.accept import EnqueueResult, enqueue_paths, wait_for_studies
from worker.intake.manifest import read_manifests
from worker.screens.console import COLOUR, RESEARCH_ONLY, counted, opened, wide_console
from worker.settings import Settings


@dataclass(frozen=True, kw_only=True)
class SubmittedStudy:
    """One line of the table."""

    study_key: str
    received: str
    """What came of it, e.g. "2 new, 1 duplicate", "announced", "ordered", "known"."""
    state: StudyState


def enqueue_files(
    settings: Settings,
    paths: Sequence[Path],
    *,
    manifest: Path | None = None,
    priority: Priority = Priority.ROUTINE,
    wait_s: float | None = None,
    console: Console | None = None,
) -> int:
    """Accept files; return 1 if one was refused, or if a study waited for failed or is not finished."""
    console = console or wide_console()
    with opened(settings) as database:
        result = enqueue_paths(
            paths,
            manifests=read_manifests(manifest) if manifest else (),
            priority=priority,
            database=database,
            settings=settings,
        )
        _print_refused(result, console)
        submitted = [
            SubmittedStudy(
                study_key=accepted.study_key,
                received=_receipts(accepted) or "announced",
                state=accepted.state,
            )
            for accepted in (*result.accepted, *result.announced)
        ]
        is_done = _show(submitted, database, wait_s, console)
    return 0 if is_done and not result.refused else 1


def order_studies(
    settings: Settings,
    study: Sequence[str],
    *,
    dicomweb: str | None = None,
    peer: str | None = None,
    priority: Priority = Priority.ROUTINE,
    wait_s: float | None = None,
    console: Console | None = None,
) -> int:
    """Have studies fetched; return 1 if a study waited for failed or is not finished."""
    with opened(settings) as database:
        submitted = []
        for uid in dict.fromkeys(study):
            order = order_study(
                uid,
                dicomweb=dicomweb,
                peer=peer,
                priority=priority,
                database=database,
                settings=settings,
            )
            received = "ordered" if order.is_new else "known"
            submitted.append(
                SubmittedStudy(study_key=order.study_key, received=received, state=order.state)
            )
        is_done = _show(submitted, database, wait_s, console or wide_console())
    return 0 if is_done else 1


def _show(
    submitted: Sequence[SubmittedStudy],
    database: Database,
    wait_s: float | None,
    console: Console,
) -> bool:
    """Wait if asked, print the table and what failed; return whether all that was waited for is done."""
    if not submitted:
        return True
    results: tuple[StudySummary, ...] = ()
    if wait_s is not None:
        results = _wait([item.study_key for item in submitted], database, wait_s, console)
    console.print(submitted_table(submitted, results))
    for result in results:
        if result.error_sentence:
            failure = f"{result.study_key[:8]} {result.error_code}: {result.error_sentence}"
            console.print(failure, markup=False, highlight=False)
    if models := sorted({result.model_name for result in results if result.model_name}):
        console.print(f"Model version: {', '.join(models)}", highlight=False)
    if wait_s is None:
        console.print("To see the results: `pneumo show STUDY`, or add `--wait` next time.")
    else:
        console.print(RESEARCH_ONLY, style="dim")
    return not any(r.state is not StudyState.DONE or r.verdict is Verdict.FAILED for r in results)


def _wait(
    keys: Sequence[str], database: Database, wait_s: float, console: Console
) -> tuple[StudySummary, ...]:
    """Wait for the studies' results with a progress bar."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("waiting for results", total=len(keys))
        return wait_for_studies(
            database,
            keys,
            timeout_s=wait_s,
            on_progress=lambda finished: progress.update(bar, completed=finished),
        )


def submitted_table(
    submitted: Sequence[SubmittedStudy], results: Sequence[StudySummary] = ()
) -> Table:
    """One line a study. The model version is printed below: the table must fit into 80 columns."""
    by_key = {result.study_key: result for result in results}
    table = Table(Column("study", no_wrap=True), "received", "state")
    for heading in ("verdict", "probability") if results else ():
        table.add_column(heading, no_wrap=True)
    for item in submitted:
        result = by_key.get(item.study_key)
        state = result.state if result else item.state
        table.add_row(item.study_key, item.received, state.value, *_outcome_cells(result))
    return table


def _outcome_cells(result: StudySummary | None) -> tuple[Text | str, ...]:
    if result is None:
        return ()
    verdict, probability = result.verdict, result.probability
    return (
        Text(verdict.value, style=COLOUR[verdict]) if verdict else "",
        "" if probability is None else f"{probability:.6f}",
    )


def _print_refused(result: EnqueueResult, console: Console) -> None:
    if result.skipped:
        console.print(f"Skipped {counted(result.skipped, 'file')} in folders: not DICOM images.")
    if result.directories:
        console.print(
            f"Left out {counted(result.directories, 'DICOMDIR file')}: the files beside were read "
            "themselves."
        )
    for refused in result.refused:
        # The person's own terminal may show a path as it was typed; no sentence holds one.
        name = refused.path or f"file {refused.position} of {refused.of}"
        console.print(
            Text.assemble((refused.error.code, "bold red"), f" {name}: {refused.error.sentence}"),
            soft_wrap=True,
        )


def _receipts(acceptance: Acceptance) -> str:
    """Count the files by what became of them, e.g. "2 new, 1 duplicate"."""
    counts = {
        receipt: sum(i.outcome is receipt for i in acceptance.instances)
        for receipt in InstanceReceipt
    }
    return ", ".join(f"{count} {receipt.value}" for receipt, count in counts.items() if count)
