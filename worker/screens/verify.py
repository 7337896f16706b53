"""`pneumo verify`: compute recorded predictions again, and print whether they come out the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy.orm import Session

from db.ledger.model_registry import list_models
from db.studies.recorded_predictions import (
    prediction_by_id,
    predictions_of_study,
    record_verifications,
)
from db.values import ModelRecord, RecordedPrediction
from worker.errors import Rejected
from worker.inference.replay import Replay, Replayer, ReplayOutcome
from worker.screens.console import actor, opened, resolve_study_key, titled_table, wide_console
from worker.settings import Settings

_STYLE = {
    ReplayOutcome.EQUAL: "green",
    ReplayOutcome.EQUAL_WITHIN_TOLERANCE: "green",
    ReplayOutcome.DIFFERS: "bold red",
    ReplayOutcome.NOT_REPLAYED: "yellow",
}


def verify_predictions(
    settings: Settings,
    prediction: str,
    *,
    instance: int | None = None,
    console: Console | None = None,
) -> int:
    """Compute predictions again and record that in the audit trail; return 1 unless all are confirmed.

    Raises Rejected STUDY_UNKNOWN, PREDICTION_UNKNOWN.
    """
    console = console or wide_console()
    with opened(settings) as database:
        with database.reading() as session:
            recorded = _named(session, prediction, instance)
            models = list_models(session)
        with _replayer(settings, models) as replayer:
            replays = [replayer.replay(item) for item in recorded]
        with database.transaction() as session:
            record_verifications(session, [(r.prediction, _audited(r)) for r in replays], actor())
    console.print(_table(replays))
    for line in _reasons(replays):
        console.print(line)
    return 0 if all(replay.succeeded for replay in replays) else 1


@contextmanager
def _replayer(settings: Settings, models: list[ModelRecord]) -> Iterator[Replayer]:
    replayer = Replayer(settings, models)
    try:
        yield replayer
    finally:
        replayer.close()


def _named(session: Session, named: str, instance: int | None) -> list[RecordedPrediction]:
    """Return the predictions meant: one by its id (`p17`), or those of a study or of one instance of it."""
    if re.fullmatch(r"p\d{1,18}", named):  # no study key holds a p: keys are hex digits
        found = prediction_by_id(session, int(named[1:]))
        recorded = [found] if found and instance in {None, found.instance_number} else []
    else:
        key = resolve_study_key(session, named)
        recorded = predictions_of_study(session, key, instance_number=instance)
    if not recorded:
        raise Rejected(
            "PREDICTION_UNKNOWN",
            "There is no such prediction. `pneumo show STUDY` lists a study's predictions with their "
            "ids (p17) and the numbers of their instances.",
        )
    return recorded


def _audited(replay: Replay) -> dict[str, object]:
    """Return what the audit trail records: the outcome, and the names of what differed."""
    detail: dict[str, object] = {"outcome": replay.outcome.value}
    if replay.differences:
        detail["differences"] = [difference.name for difference in replay.differences]
    if replay.code:
        detail["code"] = replay.code
    return detail


def _table(replays: list[Replay]) -> Table:
    table = titled_table(
        "Predictions computed again, on the CPU in fp32",
        "id", "no.", "frame", "model version", "recorded on", Column("outcome", no_wrap=True),
    )  # fmt: skip
    for replay in replays:
        recorded = replay.prediction
        table.add_row(
            f"p{recorded.prediction_id}",
            str(recorded.instance_number),
            str(recorded.frame_number),
            recorded.model_name,
            recorded.device,
            Text(replay.outcome.value, style=_STYLE[replay.outcome]),
        )
    return table


def _reasons(replays: list[Replay]) -> Iterator[Text]:
    """Yield a line for each difference, and one for each prediction that could not be replayed."""
    for replay in replays:
        name = f"p{replay.prediction.prediction_id}"
        for difference in replay.differences:
            yield Text(
                f"{name} {difference.name}: recorded {difference.recorded}, computed {difference.computed}",
                style="" if difference.is_tolerable else "red",
            )
        if replay.code:
            yield Text.assemble(f"{name} ", (replay.code, "bold"), f" {replay.sentence}")
