"""What a delivery does to its study, by the state that the study is in.

| state             | whole study (`settle_whole`)       | one instance (`settle_part`)                 |
|-------------------|------------------------------------|----------------------------------------------|
| receiving         | closed by the sender               | the idle window begins again                 |
| accepted, queued  | more images                        | more images                                  |
| running           | revised; run again after this one  | revised; received on after this attempt      |
| running, fetching | more images                        | more images; received on if this attempt fails |
| done, parked      | revised and accepted               | revised and receiving                        |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import AuditEntry
from db.enums import AuditEvent, ClosedBy, InstanceReceipt, Lane, Priority, Source, StudyState
from db.models import InferenceRun, Instance, Study, StudyOrigin
from db.records import ReceivedInstance

FINISHED = frozenset({StudyState.DONE, StudyState.PARKED})
FETCHED_BY_US = frozenset({Source.DICOMWEB, Source.PULL})
"""Studies with a row in `study_origin`."""


@dataclass(kw_only=True)
class Delivery:
    """What is known while one delivery's transaction runs; the study's row is locked."""

    session: Session
    moment: datetime
    study: Study
    outcomes: Sequence[tuple[ReceivedInstance, InstanceReceipt]]
    notes: list[tuple[AuditEvent, Mapping[str, Any]]] = field(default_factory=list)
    accepts: bool = False
    """Whether this delivery closes the study; its audit entry counts all instances at the end."""

    def having(self, outcome: InstanceReceipt) -> list[ReceivedInstance]:
        """The instances that came to `outcome`."""
        return [instance for instance, came_to in self.outcomes if came_to is outcome]

    def note(self, event: AuditEvent, **detail: Any) -> None:
        """Remember what is to be audited at the end of the transaction."""
        self.notes.append((event, detail))

    def entries(self) -> list[AuditEntry]:
        """Everything to be audited, in order."""
        accepted = [accepted_entry(self.session, self.study)] if self.accepts else []
        return accepted + [entry(self.study, event, detail) for event, detail in self.notes]


def settle_whole(delivery: Delivery, closed_by: ClosedBy) -> None:
    """The sender handed over everything there is."""
    study = delivery.study
    if study.state is StudyState.RECEIVING:
        close(study, delivery.moment, closed_by)
        delivery.accepts = True
    elif not delivery.having(InstanceReceipt.NEW):
        _note_resend(delivery)
    elif study.state in FINISHED:
        _reopen(study, delivery.moment)
        close(study, delivery.moment, closed_by)
        _note_revision(delivery)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(delivery)


def settle_part(delivery: Delivery, window: timedelta) -> None:
    """One instance came, and more may follow within the idle window."""
    study = delivery.study
    if study.state is StudyState.RECEIVING:
        study.due_at = delivery.moment + window
    elif not delivery.having(InstanceReceipt.NEW):
        _note_resend(delivery)
    elif study.state in FINISHED:
        _reopen(study, delivery.moment)
        study.due_at = delivery.moment + window
        _note_revision(delivery)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(delivery)
        # No closing rule yet: when this attempt ends, the study waits out its window again.
        study.closed_by, study.due_at = None, delivery.moment + window


def close(study: Study, moment: datetime, closed_by: ClosedBy) -> None:
    """The study is complete: from now on it is due."""
    study.state = StudyState.ACCEPTED
    study.closed_by, study.closed_at, study.due_at = closed_by, moment, moment


def raise_to_stat(delivery: Delivery) -> None:
    """A resend asked for STAT: an unfinished study goes first from now on."""
    study = delivery.study
    if study.priority is Priority.STAT or study.state in FINISHED:
        return
    study.priority = Priority.STAT
    if study.lane is Lane.ROUTINE:
        study.lane = Lane.STAT
        if study.state is StudyState.QUEUED:  # its message waits in the other lane: send another
            study.state, study.due_at = StudyState.ACCEPTED, delivery.moment
    delivery.note(AuditEvent.STUDY_RAISED_TO_STAT, revision=study.revision)


def note_conflicts(delivery: Delivery) -> None:
    """The first file stays; both digests go on record, so that somebody can ask the sender."""
    for instance in delivery.having(InstanceReceipt.CONFLICTING):
        kept = delivery.session.scalar(
            select(Instance.file_sha256).where(
                Instance.study_id == delivery.study.id,
                Instance.sop_instance_uid == instance.sop_instance_uid,
            )
        )
        delivery.note(
            AuditEvent.CONFLICTING_INSTANCE_RECEIVED,
            kept_file_sha256=kept,
            received_file_sha256=instance.file_sha256,
        )


def accepted_entry(session: Session, study: Study) -> AuditEntry:
    """The record that a study is closed and ours."""
    session.flush()
    count = session.scalar(select(func.count()).where(Instance.study_id == study.id))
    detail = {
        "revision": study.revision,
        "instances": count,
        "priority": study.priority.value,
        "source": study.source.value,
        "closed_by": study.closed_by.value if study.closed_by else None,
    }
    return entry(study, AuditEvent.STUDY_ACCEPTED, detail)


def entry(study: Study, event: AuditEvent, detail: Mapping[str, Any]) -> AuditEntry:
    """An audit entry in the name of the way in."""
    actor = f"intake:{study.source.value}"
    return AuditEntry(event=event, study_key=study.study_key, actor=actor, detail=detail)


def _reopen(study: Study, moment: datetime) -> None:
    """A new revision begins as a new study does; predictions that exist stay and are not redone."""
    study.revision += 1
    study.state, study.lane, study.received_at = (
        StudyState.RECEIVING,
        Lane(study.priority.value),
        moment,
    )
    study.crashes = study.crashes_alone = study.retries = 0
    study.verdict = study.probability = study.threshold = study.model_version_id = None
    study.closed_by = study.closed_at = study.published_at = None
    study.started_at = study.finished_at = None
    study.waiting_seconds = study.turnaround_seconds = None
    study.error_code = study.error_sentence = study.error_kind = None
    study.traceback_reference = None


def is_being_fetched(session: Session, study: Study) -> bool:
    """Whether the study was ordered from an archive and its images are not all here yet."""
    if study.source not in FETCHED_BY_US:
        return False
    unfetched = select(StudyOrigin.study_id).where(
        StudyOrigin.study_id == study.id, StudyOrigin.fetched_at.is_(None)
    )
    return session.scalar(unfetched) is not None


def _revise_while_running(delivery: Delivery) -> None:
    """The running attempt does not know these images; the revision says so when it ends."""
    study = delivery.study
    if is_being_fetched(delivery.session, study):
        return  # it waits for these very images (C-MOVE), and looks again when they are here
    seen = delivery.session.scalar(
        select(InferenceRun.revision).where(
            InferenceRun.study_id == study.id, InferenceRun.attempt == study.attempts
        )
    )
    if study.revision == seen:
        study.revision += 1
        _note_revision(delivery)


def _note_revision(delivery: Delivery) -> None:
    delivery.note(
        AuditEvent.STUDY_REVISED,
        revision=delivery.study.revision,
        new_instances=len(delivery.having(InstanceReceipt.NEW)),
    )


def _note_resend(delivery: Delivery) -> None:
    """A resend; one that differs is told by its conflicts alone."""
    duplicates = len(delivery.having(InstanceReceipt.DUPLICATE))
    if duplicates:
        delivery.note(AuditEvent.STUDY_RECEIVED_AGAIN, instances=duplicates)
