"""What a delivery does to its study, by the state that the study is in.

| state             | whole study (`settle_whole`)       | one instance (`settle_part`)                 |
|-------------------|------------------------------------|----------------------------------------------|
| receiving         | closed by the sender               | the idle window begins again                 |
| accepted, queued  | more images                        | more images                                  |
| running           | revised; run again after this one  | revised; received on after this attempt      |
| running, fetching | more images                        | more images; received on if this attempt fails |
| done, parked      | revised and accepted               | revised and receiving                        |

Where a manifest says what the study consists of, it decides in both columns: a study that is
received is closed by it when everything is here, and waits for what is missing otherwise. A changed
image revises a study in every state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import AuditEntry
from db.enums import AuditEvent, ClosedBy, InstanceReceipt, Lane, Priority, Source, StudyState
from db.manifests import missing
from db.models import InferenceRun, Instance, Study, StudyOrigin
from db.records import ReceivedInstance

FINISHED = frozenset({StudyState.DONE, StudyState.PARKED})
FETCHED_BY_US = frozenset({Source.DICOMWEB, Source.PULL})
"""Studies with a row in `study_origin`."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a study that is not closed waits for its next instance."""

    idle_window: timedelta
    """Where nobody said what it consists of."""
    manifest: timedelta
    """Where a manifest names instances that are missing."""

    @classmethod
    def of(cls, *, idle_window_s: float = 0.0, manifest_s: float) -> Patience:
        """Both in seconds."""
        return cls(
            idle_window=timedelta(seconds=idle_window_s), manifest=timedelta(seconds=manifest_s)
        )


@dataclass(kw_only=True)
class Delivery:
    """What is known while one delivery's transaction runs; the study's row is locked."""

    session: Session
    moment: datetime
    study: Study
    outcomes: Sequence[tuple[ReceivedInstance, InstanceReceipt]]
    notes: list[tuple[AuditEvent, Mapping[str, Any]]] = field(default_factory=list)
    missing: int | None = None
    """Instances that the manifest names and that are not here; None without a manifest."""
    accepts: bool = False
    """Whether this delivery closes the study; its audit entry counts all instances at the end."""

    def having(self, outcome: InstanceReceipt) -> list[ReceivedInstance]:
        """The instances that came to `outcome`."""
        return [instance for instance, came_to in self.outcomes if came_to is outcome]

    def brought(self) -> list[ReceivedInstance]:
        """The instances that are to become rows: new ones, and changed ones."""
        rows = (InstanceReceipt.NEW, InstanceReceipt.CHANGED)
        return [instance for instance, came_to in self.outcomes if came_to in rows]

    def note(self, event: AuditEvent, **detail: Any) -> None:
        """Remember what is to be audited at the end of the transaction."""
        self.notes.append((event, detail))

    def entries(self) -> list[AuditEntry]:
        """Everything to be audited, in order."""
        accepted = [accepted_entry(self.session, self.study)] if self.accepts else []
        return accepted + [entry(self.study, event, detail) for event, detail in self.notes]


def settle_whole(delivery: Delivery, closed_by: ClosedBy, patience: Patience) -> None:
    """The sender handed over everything there is."""
    study = delivery.study
    if study.state is StudyState.RECEIVING:
        _revise_if_changed(delivery)
        _close_or_wait(delivery, patience, closed_by)
    elif not delivery.brought():
        _note_resend(delivery)
    elif study.state in FINISHED:
        _reopen(study, delivery.moment)
        _close_or_wait(delivery, patience, closed_by, accepts=False)
        _note_revision(delivery)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(delivery)
    else:
        _revise_if_changed(delivery)


def settle_part(delivery: Delivery, patience: Patience) -> None:
    """One instance came, and more may follow within the idle window."""
    study = delivery.study
    if study.state is StudyState.RECEIVING:
        _revise_if_changed(delivery)
        _close_or_wait(delivery, patience)
    elif not delivery.brought():
        _note_resend(delivery)
    elif study.state in FINISHED:
        _reopen(study, delivery.moment)
        _close_or_wait(delivery, patience, accepts=False)
        _note_revision(delivery)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(delivery)
        if delivery.missing == 0:
            study.closed_by = ClosedBy.MANIFEST
        else:
            # No closing rule yet: when this attempt ends, the study waits out its window again.
            study.closed_by, study.due_at = None, delivery.moment + _window(delivery, patience)
    else:
        _revise_if_changed(delivery)


def settle_announcement(delivery: Delivery, patience: Patience) -> None:
    """Only a manifest came: it decides over a study that is still received."""
    if delivery.study.state is StudyState.RECEIVING:
        _close_or_wait(delivery, patience)


def _close_or_wait(
    delivery: Delivery,
    patience: Patience,
    otherwise: ClosedBy | None = None,
    *,
    accepts: bool = True,
) -> None:
    """Close a study that is received by its manifest, or without one by the rule `otherwise`."""
    rule = ClosedBy.MANIFEST if delivery.missing == 0 else otherwise
    if delivery.missing or rule is None:
        delivery.study.due_at = delivery.moment + _window(delivery, patience)
    else:
        close(delivery.study, delivery.moment, rule)
        delivery.accepts = accepts


def _window(delivery: Delivery, patience: Patience) -> timedelta:
    return patience.manifest if delivery.missing else patience.idle_window


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


def note_changes(delivery: Delivery) -> None:
    """Both contents' digests go on record, before the rows change."""
    for instance in delivery.having(InstanceReceipt.CHANGED):
        replaced = delivery.session.execute(
            select(Instance.file_sha256, Instance.data_set_sha256).where(
                Instance.study_id == delivery.study.id,
                Instance.sop_instance_uid == instance.sop_instance_uid,
                Instance.replaced_in_revision.is_(None),
            )
        ).one()
        delivery.note(
            AuditEvent.CHANGED_INSTANCE_RECEIVED,
            revision=delivery.study.revision,
            replaced_file_sha256=replaced.file_sha256,
            replaced_data_set_sha256=replaced.data_set_sha256,
            received_file_sha256=instance.file_sha256,
            received_data_set_sha256=instance.data_set_sha256,
        )


def note_conflicts(delivery: Delivery) -> None:
    """The first of a delivery counts; both digests go on record, so that somebody can ask."""
    first: dict[str, str] = {}
    for instance, receipt in delivery.outcomes:
        kept = first.setdefault(instance.sop_instance_uid, instance.file_sha256)
        if receipt is InstanceReceipt.CONFLICTING:
            delivery.note(
                AuditEvent.CONFLICTING_INSTANCE_RECEIVED,
                kept_file_sha256=kept,
                received_file_sha256=instance.file_sha256,
            )


def accepted_entry(session: Session, study: Study) -> AuditEntry:
    """The record that a study is closed and ours."""
    session.flush()
    here = session.scalars(
        select(Instance.sop_instance_uid).where(
            Instance.study_id == study.id, Instance.replaced_in_revision.is_(None)
        )
    ).all()
    detail: dict[str, Any] = {
        "revision": study.revision,
        "instances": len(here),
        "priority": study.priority.value,
        "source": study.source.value,
        "closed_by": study.closed_by.value if study.closed_by else None,
    }
    if (absent := missing(session, study.id, here)) is not None:
        detail["missing"] = absent
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


def _revise_if_changed(delivery: Delivery) -> None:
    """A study that no worker has looked at yet: more images are no revision, changed ones are."""
    if delivery.having(InstanceReceipt.CHANGED):
        delivery.study.revision += 1
        _note_revision(delivery)


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
        changed_instances=len(delivery.having(InstanceReceipt.CHANGED)),
    )


def _note_resend(delivery: Delivery) -> None:
    """A resend; one that differs is told by its conflicts alone."""
    duplicates = len(delivery.having(InstanceReceipt.DUPLICATE))
    if duplicates:
        delivery.note(AuditEvent.STUDY_RECEIVED_AGAIN, instances=duplicates)
