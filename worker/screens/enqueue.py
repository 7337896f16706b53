"""`pneumo enqueue`: take files over, say what became of each study, and wait if asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from db.engine.session import Database
from db.values import Acceptance, StudySummary
from db.vocabulary.enums import InstanceReceipt, Priority, StudyState, Verdict
from worker.intake.accept import EnqueueResult, enqueue_paths, wait_for_studies
from worker.intake.manifest import read_manifests
from worker.screens.console import COLOUR, RESEARCH_ONLY
from worker.settings import Settings


def enqueue_and_show(
    settings: Settings,
    paths: Sequence[Path],
    *,
    manifest: Path | None = None,
    priority: Priority,
    wait_s: float | None,
    console: Console | None = None,
) -> int:
    """Enqueue, print one line a study; 1 if a file was refused, parked or not finished in time."""
    console = console or Console()
    database = Database(settings.database_url)
    enqueued = enqueue_paths(
        paths,
        manifests=read_manifests(manifest) if manifest else (),
        priority=priority,
        database=database,
        settings=settings,
    )
    _show_refused(enqueued, console)
    taken = (*enqueued.accepted, *enqueued.announced)
    results: tuple[StudySummary, ...] = ()
    if wait_s is not None and taken:
        keys = [acceptance.study_key for acceptance in taken]
        results = wait_and_show(database, keys, wait_s, console)
    console.print(_table(taken, results))
    if results:
        console.print(RESEARCH_ONLY, style="dim")
    database.dispose()
    if wait_s is None and taken:
        console.print("Results: `pneumo show STUDY`, or next time `pneumo enqueue --wait`.")
    return 1 if enqueued.refused or has_unfinished(results) else 0


def _show_refused(enqueued: EnqueueResult, console: Console) -> None:
    if enqueued.skipped:
        console.print(f"{enqueued.skipped} files in folders were no DICOM and were skipped.")
    for refused in enqueued.refused:
        console.print(
            f"[bold red]{refused.error.code}[/] file {refused.position} of {refused.of}: "
            f"{refused.error.sentence}",
            highlight=False,
        )


def wait_and_show(
    database: Database, keys: Sequence[str], wait_s: float, console: Console
) -> tuple[StudySummary, ...]:
    """Wait with a bar on the screen; what the studies have come to."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("waiting for results", total=len(keys))
        return wait_for_studies(
            database,
            keys,
            timeout_s=wait_s,
            on_progress=lambda finished: progress.update(bar, completed=finished),
        )


def _table(accepted: Sequence[Acceptance], results: Sequence[StudySummary]) -> Table:
    by_key = {result.study_key: result for result in results}
    table = Table("study", "files", "state", "verdict", "probability", "model version")
    for acceptance in accepted:
        result = by_key.get(acceptance.study_key)
        state = result.state if result else acceptance.state
        table.add_row(
            acceptance.study_key,
            _receipts(acceptance) or "announced",
            state.value,
            *outcome_cells(result),
        )
    return table


def outcome_cells(result: StudySummary | None) -> tuple[Text | str, str, str]:
    """Verdict, probability and model version, as far as there are any."""
    verdict = result.verdict if result else None
    probability = result.probability if result else None
    return (
        Text(verdict.value, style=COLOUR[verdict]) if verdict else "",
        "" if probability is None else f"{probability:.6f}",
        (result.model_name or "") if result else "",
    )


def _receipts(acceptance: Acceptance) -> str:
    """e.g. "2 new, 1 duplicate"."""
    counts = {
        receipt: sum(i.outcome is receipt for i in acceptance.instances)
        for receipt in InstanceReceipt
    }
    return ", ".join(f"{count} {receipt.value}" for receipt, count in counts.items() if count)


def has_unfinished(results: Sequence[StudySummary]) -> bool:
    """Whether something that was waited for has no result."""
    return any(r.state is not StudyState.DONE or r.verdict is Verdict.FAILED for r in results)
