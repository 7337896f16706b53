"""`pneumo pull` and `pneumo enqueue --dicomweb`: order studies, say what became of each, wait if asked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from db.engine.session import Database
from db.values import OrderConfirmation, StudySummary
from db.vocabulary.enums import Priority
from worker.archive.order import order_study
from worker.screens.console import RESEARCH_ONLY, wide_console
from worker.screens.enqueue import has_unfinished, outcome_cells, wait_and_show
from worker.settings import Settings


def order_and_show(
    settings: Settings,
    study_instance_uids: Sequence[str],
    *,
    dicomweb: str | None = None,
    peer: str | None = None,
    priority: Priority,
    wait_s: float | None,
    console: Console | None = None,
) -> int:
    """Order, print one line a study; 1 if one that was waited for is parked or not finished."""
    console = console or wide_console()
    database = Database(settings.database_url)
    ordered = [
        order_study(
            uid,
            dicomweb=dicomweb,
            peer=peer,
            priority=priority,
            database=database,
            settings=settings,
        )
        for uid in dict.fromkeys(study_instance_uids)
    ]
    results: tuple[StudySummary, ...] = ()
    if wait_s is not None:
        results = wait_and_show(database, [it.study_key for it in ordered], wait_s, console)
    database.dispose()
    console.print(_table(ordered, results))
    for result in results:
        if result.error_sentence:
            told = f"{result.study_key[:8]} {result.error_code}: {result.error_sentence}"
            console.print(told, markup=False, highlight=False)
    if models := sorted({result.model_name for result in results if result.model_name}):
        console.print(f"Model version: {', '.join(models)}", highlight=False)
    if results:
        console.print(RESEARCH_ONLY, style="dim")
    elif wait_s is None:
        console.print("Results: `pneumo show STUDY`, or next time `--wait`.")
    return 1 if has_unfinished(results) else 0


def _table(ordered: Sequence[OrderConfirmation], results: Sequence[StudySummary]) -> Table:
    by_key = {result.study_key: result for result in results}
    table = Table(Column("study", no_wrap=True), "order", "state")
    for heading in _OUTCOME if results else ():
        table.add_column(heading)
    for order in ordered:
        result = by_key.get(order.study_key)
        table.add_row(
            order.study_key,
            "new" if order.is_new else "known",
            (result.state if result else order.state).value,
            *(outcome_cells(result)[: len(_OUTCOME)] if results else ()),
        )
    return table


_OUTCOME = ("verdict", "probability")
"""And the model version below: with it the table would not fit into 80 columns."""
