"""What runs again and again for years: each turn of the relay, each study, each look of a person.

Each is a name and a function of a session and of the number of studies that `fill_history` made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from db.deliveries.claims import claim_delivery
from db.deliveries.commitment import delete_obsolete_requests, record_commitment_report
from db.deliveries.overview import own_results, parked_deliveries
from db.deliveries.publication import due_for_delivery, mark_deliveries_published, sweep_deliveries
from db.engine.session import Database
from db.ledger.conditions import active_conditions
from db.ledger.heartbeats import live_workers
from db.ledger.model_registry import active_model
from db.ledger.parking import parked_groups
from db.studies.claims import claim, claimed_instances, renew_leases
from db.studies.completeness import open_studies
from db.studies.intake import close_idle_studies, receive_instance
from db.studies.orders import known_studies, outstanding_orders, place_order, unfetched_orders
from db.studies.overview import (
    archived_study_statuses,
    find_study,
    parked_studies,
    study_detail,
    study_summaries,
    view_rows,
)
from db.studies.publication import (
    age_routine,
    due_for_publication,
    mark_published,
    sweep_expired_leases,
)
from db.studies.results import store_result
from db.studies.retention import file_names_in_use, mark_removed, removable_studies
from db.values import StudyOrder
from db.vocabulary.enums import Priority, RetrieveWay, Source
from tests.builders.database import make_study, positive_outcome
from tests.builders.history import HISTORY_UID, history_key

KEEP_DAYS = 1e-3
"""The files of the newest hundredth are here, whatever the number of studies: these may leave."""
Query = Callable[[Session, int], object]


def _uids(number: int) -> list[str]:
    return [f"{HISTORY_UID}.{number // 2 + i}" for i in range(50)]


def _names() -> list[str]:
    return [f"ab/{history_key(i)}{history_key(i)}.dcm" for i in range(1, 51)]


def _store(session: Session, number: int) -> None:
    held = claim(session, history_key(number - 3 * number // 1000), worker_name="w", lease_s=60)
    store_result(session, held, positive_outcome(held, active_model(session)))


def _receive(session: Session, number: int) -> None:
    """One more image of a study that was done long ago, as a listener takes it over."""
    received = make_study(2, uid=f"{HISTORY_UID}.{number // 2 + 1}")
    receive_instance(session, received, idle_window_s=60)


def _order(session: Session, number: int) -> None:
    wanted = StudyOrder(
        study_instance_uid=f"{HISTORY_UID}.{number + 1}",
        source=Source.PULL,
        priority=Priority.ROUTINE,
        peer="archive",
        way=RetrieveWay.C_GET,
    )
    place_order(session, wanted)


HOT: dict[str, Query] = {
    # the relay, each second
    "sweep": lambda s, _: sweep_expired_leases(s),
    "close idle": lambda s, _: close_idle_studies(s),
    "age": lambda s, _: age_routine(s, after_s=1800),
    "due for publication": lambda s, _: due_for_publication(s, limit=200, requeue_after_s=60),
    "due after a wipe": lambda s, _: due_for_publication(
        s, limit=200, requeue_after_s=60, broker_was_wiped=True
    ),
    "mark published": lambda s, n: mark_published(s, [history_key(n - i) for i in range(20)]),
    "counted by an archive": lambda s, _: open_studies(s, quiet_s=2, limit=50),
    "sweep deliveries": lambda s, _: sweep_deliveries(s),
    "due for delivery": lambda s, _: due_for_delivery(s, limit=50, requeue_after_s=60),
    "mark deliveries": lambda s, n: mark_deliveries_published(
        s, [history_key(f"d{n - 45 * n // 10_000 + i}") for i in range(20)]
    ),
    # the relay, each minute
    "answered questions": lambda s, _: delete_obsolete_requests(s),
    "due to leave": lambda s, _: removable_studies(s, keep_days=KEEP_DAYS, limit=50),
    "none due to leave": lambda s, n: removable_studies(s, keep_days=n / 1440 / 50, limit=50),
    "mark removed": lambda s, n: mark_removed(s, n - n // 128, keep_days=KEEP_DAYS, actor="x"),
    "orphans": lambda s, _: file_names_in_use(s, _names()),
    # workers, each study
    "claim": lambda s, n: claim(s, history_key(n - 3 * n // 1000), worker_name="w", lease_s=60),
    "claimed instances": lambda s, n: claimed_instances(s, n // 2),
    "store a result": _store,
    "receive an image": _receive,
    "order a study": _order,
    "renew leases": lambda s, n: renew_leases(s, [(n // 2 + i, 1) for i in range(8)], lease_s=60),
    "claim a delivery": lambda s, n: claim_delivery(
        s, history_key(f"d{n - 45 * n // 10_000 - 1}"), lease_s=60
    ),
    "commitment": lambda s, _: record_commitment_report(s, "2.25.1", [], {}, max_refusals=3),
    "own results": lambda s, n: own_results(s, [f"2.25.{n // 2}", "2.25.0"]),
    # fetching, each order and each day
    "outstanding orders": lambda s, _: outstanding_orders(s),
    "known studies": lambda s, n: known_studies(s, _uids(n)),
    "standings": lambda s, n: archived_study_statuses(s, _uids(n)),
    # a person
    "unfetched orders": lambda s, _: unfetched_orders(s),
    "conditions": lambda s, _: active_conditions(s),
    "live workers": lambda s, _: live_workers(s, within_s=30),
    "parked studies": lambda s, _: parked_studies(s),
    "parked by code": lambda s, _: parked_groups(s),
    "parked deliveries": lambda s, _: parked_deliveries(s),
    "find by UID": lambda s, _: find_study(s, f"{HISTORY_UID}.7"),
    "find by key": lambda s, _: find_study(s, history_key(7)[:12]),
    "show a study": lambda s, _: study_detail(s, history_key(7)),
    "summaries": lambda s, _: study_summaries(s, [history_key(i) for i in range(1, 51)]),
    **{
        f"newest of {view}": lambda s, _, view=view: view_rows(s, view, limit=20)
        for view in ("v1_studies", "v1_predictions", "v1_shadow_agreement", "v1_deliveries")
    },
    **{
        f"one of {view}": lambda s, n, view=view: s.execute(
            text(f"SELECT * FROM {view} WHERE study_key = :key"), {"key": history_key(n // 2 + 1)}
        ).all()
        for view in ("v1_studies", "v1_predictions", "v1_shadow_agreement", "v1_deliveries")
    },
}


@contextmanager
def counting_rows(session: Session) -> Iterator[dict[str, int]]:
    """Table -> rows that the statements within the block look at, those they pass by included.

    Each statement is run twice, first by EXPLAIN ANALYZE and undone.
    """
    looked_at: dict[str, int] = {}

    def explain(_connection, cursor, statement, parameters, _context, executemany):
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        run = cursor.connection.execute
        run("SAVEPOINT explained")
        plan = run(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}",
            parameters[0] if executemany else parameters,
        ).fetchone()[0]
        run("ROLLBACK TO SAVEPOINT explained")
        _add_up(plan if isinstance(plan, list) else json.loads(plan), looked_at)

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", explain)
    try:
        yield looked_at
    finally:
        event.remove(connection, "before_cursor_execute", explain)


def _add_up(plans: list[dict], looked_at: dict[str, int]) -> None:
    for entry in plans:
        node = entry.get("Plan", entry)
        if (table := node.get("Relation Name")) is not None:
            passed_by = sum(
                count for word, count in node.items() if word.startswith("Rows Removed by")
            )
            rows = (node["Actual Rows"] + passed_by) * node["Actual Loops"]
            looked_at[table] = looked_at.get(table, 0) + round(rows)
        _add_up(node.get("Plans", []), looked_at)


@contextmanager
def undone(database: Database) -> Iterator[Session]:
    """A session whose work is forgotten."""
    with Session(database.engine) as session:
        yield session
        session.rollback()
