"""How an attempt ends: stored, to be retried, parked. Each checks the fencing token first.

A result is one transaction: refusals, predictions, verdict, end of the attempt and audit records
are all written or none. Doing it twice changes nothing: the second finds the claim ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.deliveries.outbox import enqueue_result
from db.engine.clock import now
from db.engine.statements import lock_rows
from db.ledger.audit import append_entries, append_entry
from db.ledger.row_digests import as_text, images_digest, study_digest
from db.ledger.work_rows import clear_error, set_error
from db.models import Instance, Study
from db.studies.claims import end_run, held_run, held_study, release_study
from db.studies.result_writer import ResultWriter
from db.values import Claim, Failure, StudyOutcome
from db.vocabulary.enums import AuditEvent, Lane, RunOutcome, StudyState, Verdict


def store_result(session: Session, claim: Claim, outcome: StudyOutcome) -> None:
    """Store the result of an attempt and enqueue it for every destination.

    If new images came during the attempt its predictions are kept, but the study has no verdict
    yet: it is due again.

    Args:
        session: The running transaction.
        claim: The worker's claim.
        outcome: Verdict, predictions and refusals of all instances.

    Raises:
        StaleClaim: The claim is no longer held; nothing is written.
    """
    begun = time.perf_counter()
    moment = now(session)
    study = held_study(session, claim)
    run_id, _ = held_run(session, claim)
    writer = ResultWriter(session, claim, run_id, moment)
    for instance in outcome.instances:
        writer.write(instance)
    if study.revision == claim.revision:
        _finish(study, outcome, moment)
        destinations = enqueue_result(session, study, moment)
        detail = _finish_detail(claim, outcome, writer.model_names)
        detail |= _finished_rows(session, study, destinations)
        writer.note(AuditEvent.STUDY_FINISHED, detail)
    else:
        release_study(study, moment)
    session.flush()
    end_run(
        session,
        claim,
        moment,
        outcome=RunOutcome.DONE,
        model_version_id=outcome.model_version_id,
        device=outcome.device,
        read_seconds=outcome.seconds.read,
        normalise_seconds=outcome.seconds.normalise,
        inference_seconds=outcome.seconds.inference,
        store_seconds=time.perf_counter() - begun,  # all but the audit records and the commit
    )
    append_entries(session, writer.entries)


def schedule_retry(session: Session, claim: Claim, failure: Failure, *, delay_s: float) -> None:
    """Retry the study in `delay_s` seconds: the failure passes by itself. Raises StaleClaim.

    A failure with its own `retry_after_s` does not count towards parking: an archive may be away for
    a night.
    """
    moment = now(session)
    study = held_study(session, claim)
    end_run(session, claim, moment, outcome=RunOutcome.RETRY, error_code=failure.code)
    release_study(study, moment + timedelta(seconds=delay_s))
    study.retries += failure.retry_after_s is None
    set_error(study, failure)
    session.flush()


def park(session: Session, claim: Claim, failure: Failure) -> None:
    """Park the study for a person: waiting does not mend the failure.

    If new images came during the attempt, it is due again instead, its counters at nought: nobody
    has looked at those.

    Args:
        session: The running transaction.
        claim: The worker's claim.
        failure: Code and sentence that the person reads.

    Raises:
        StaleClaim: The claim is no longer held; nothing is written.
    """
    moment = now(session)
    study = held_study(session, claim)
    if study.revision != claim.revision:
        end_run(session, claim, moment, outcome=RunOutcome.RETRY, error_code=failure.code)
        release_study(study, moment)
        study.retries = 0
        set_error(study, failure)
        session.flush()
        return
    end_run(session, claim, moment, outcome=RunOutcome.PARKED, error_code=failure.code)
    park_study(study, moment, failure)
    detail = {"attempt": claim.token, **parked_detail(study, failure)}
    append_entry(session, AuditEvent.STUDY_PARKED, claim.study_key, detail, claim.worker_name)


def retry_parked(session: Session, study_key: str, *, actor: str) -> bool:
    """Make a parked study due again, its counters at nought; return False if it is not parked."""
    parked = select(Study).where(Study.study_key == study_key, Study.state == StudyState.PARKED)
    study = lock_rows(session, parked).one_or_none()
    if study is None:
        return False
    detail = {"code": study.error_code, "attempts": study.attempts}
    study.state, study.due_at = StudyState.ACCEPTED, now(session)
    study.lane = Lane(study.priority.value)
    study.crashes = study.crashes_alone = study.retries = 0
    study.verdict = study.finished_at = study.waiting_seconds = study.turnaround_seconds = None
    clear_error(study)
    append_entry(session, AuditEvent.STUDY_RETRIED, study_key, detail, actor)
    return True


# --- what happens to the study's row --------------------------------------------------------------


def park_study(study: Study, moment: datetime, failure: Failure) -> None:
    """Park a locked study; the sweeper does the same for one that killed its worker twice."""
    study.state, study.verdict, study.due_at = StudyState.PARKED, Verdict.FAILED, None
    study.probability = study.threshold = study.model_version_id = None
    set_error(study, failure)
    _set_durations(study, moment)


def parked_detail(study: Study, failure: Failure) -> dict[str, Any]:
    """Return what the audit trail keeps of a study that was parked just now."""
    return {
        "code": failure.code,
        "kind": failure.kind.value,
        "row_sha256": study_digest(study),
    }


def _finish(study: Study, outcome: StudyOutcome, moment: datetime) -> None:
    study.state, study.verdict, study.due_at = StudyState.DONE, outcome.verdict, None
    study.probability, study.threshold = outcome.probability, outcome.threshold
    study.model_version_id = outcome.decided_by or outcome.model_version_id
    clear_error(study)
    _set_durations(study, moment)


def _set_durations(study: Study, moment: datetime) -> None:
    """Store durations, so that views need no date arithmetic, which no two databases share."""
    study.finished_at = moment
    study.turnaround_seconds = (moment - study.received_at).total_seconds()
    if study.started_at and study.closed_at:
        waited = (study.started_at - study.closed_at).total_seconds()
        study.waiting_seconds = max(0.0, waited)


def _finish_detail(
    claim: Claim, outcome: StudyOutcome, model_names: dict[int, str]
) -> dict[str, Any]:
    return {
        "revision": claim.revision,
        "verdict": outcome.verdict.value,
        "probability": outcome.probability,
        "threshold": outcome.threshold,
        "model": model_names.get(outcome.decided_by or outcome.model_version_id or 0),
    }


def _finished_rows(session: Session, study: Study, destinations: Sequence[str]) -> dict[str, Any]:
    """Return what `pneumo audit verify` compares with the rows of a finished study."""
    session.flush()
    images = session.scalars(select(Instance).where(Instance.study_id == study.id))
    return {
        "finished_at": as_text(study.finished_at),
        "destinations": list(destinations),
        "row_sha256": study_digest(study),
        "images_sha256": images_digest(study.study_key, images),
    }
