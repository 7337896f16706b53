"""How an arrival changes its study, by the state of the study.

| state             | whole study (`apply_whole_study`) | one instance (`apply_instance`)          |
|-------------------|-----------------------------------|------------------------------------------|
| receiving         | closed by the sender              | the idle window starts again             |
| accepted, queued  | more images                       | more images                              |
| running           | revised; run again after this one | revised; receiving after this attempt    |
| running, fetching | more images                       | more images; receiving if it fails       |
| done, parked      | revised and accepted              | revised and receiving                    |

A manifest, which names the study's instances, decides in both columns: it closes a study that is
being received when everything is here, and lets it wait for missing instances otherwise. A changed
image revises a study in every state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import InferenceRun, Instance, Study, StudyOrigin
from db.studies.arrival import Arrival
from db.vocabulary.enums import (
    AuditEvent,
    ClosedBy,
    InstanceReceipt,
    Lane,
    Priority,
    Source,
    StudyState,
)

FINISHED = frozenset({StudyState.DONE, StudyState.PARKED})
UNFINISHED = tuple(state for state in StudyState if state not in FINISHED)
"""For queries: an index finds the few studies in these states among millions, whereas "not in
FINISHED" reads the whole table."""
FETCHED_BY_US = frozenset({Source.DICOMWEB, Source.PULL})
"""Studies with a row in `study_origin`."""


WINDOWS_FOR_A_RESEND = 10
"""A study to which only known images come is closed so many idle windows after its last new one."""


@dataclass(frozen=True, kw_only=True)
class CompletenessTimeouts:
    """How long an open study waits for its next instance."""

    idle_window: timedelta
    """Without a manifest."""
    manifest: timedelta
    """With a manifest that names missing instances."""

    @classmethod
    def of(cls, *, idle_window_s: float = 0.0, manifest_s: float) -> CompletenessTimeouts:
        """Build the timeouts from seconds."""
        return cls(
            idle_window=timedelta(seconds=idle_window_s), manifest=timedelta(seconds=manifest_s)
        )


def apply_whole_study(
    arrival: Arrival, closed_by: ClosedBy, timeouts: CompletenessTimeouts
) -> None:
    """Apply an arrival of a whole study, with which the sender handed over everything."""
    study = arrival.study
    if not arrival.new_or_changed():
        _note_resend(arrival)
    if study.state is StudyState.RECEIVING:
        _revise_if_changed(arrival)
        _close_or_wait(arrival, timeouts, closed_by)
    elif not arrival.new_or_changed():
        return
    elif study.state in FINISHED:
        _reopen(study, arrival.moment)
        _close_or_wait(arrival, timeouts, closed_by, accepts=False)
        _note_revision(arrival)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(arrival)
    else:
        _revise_if_changed(arrival)


def apply_instance(arrival: Arrival, timeouts: CompletenessTimeouts) -> None:
    """Apply an arrival of one instance, which others may follow within the idle window."""
    study = arrival.study
    if not arrival.new_or_changed():
        _note_resend(arrival)
        if study.state is StudyState.RECEIVING:
            _wait_for_resender(arrival, timeouts)
    elif study.state is StudyState.RECEIVING:
        _revise_if_changed(arrival)
        _close_or_wait(arrival, timeouts)
    elif study.state in FINISHED:
        _reopen(study, arrival.moment)
        _close_or_wait(arrival, timeouts, accepts=False)
        _note_revision(arrival)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(arrival)
        if arrival.missing == 0:
            study.closed_by = ClosedBy.MANIFEST
        else:
            # No rule has closed it yet: when this attempt ends, the study waits for its window again.
            study.closed_by, study.due_at = None, arrival.moment + _window(arrival, timeouts)
    else:
        _revise_if_changed(arrival)


def apply_manifest(arrival: Arrival, timeouts: CompletenessTimeouts) -> None:
    """Apply the arrival of a manifest alone, which may close a study that is being received."""
    if arrival.study.state is StudyState.RECEIVING:
        _close_or_wait(arrival, timeouts)


def _close_or_wait(
    arrival: Arrival,
    timeouts: CompletenessTimeouts,
    otherwise: ClosedBy | None = None,
    *,
    accepts: bool = True,
) -> None:
    """Close an open study by its manifest, or without one by `otherwise`; else let it wait."""
    rule = ClosedBy.MANIFEST if arrival.missing == 0 else otherwise
    if arrival.missing or rule is None:
        arrival.study.due_at = arrival.moment + _window(arrival, timeouts)
    else:
        close_study(arrival.study, arrival.moment, rule)
        arrival.accepts = accepts


def _wait_for_resender(arrival: Arrival, timeouts: CompletenessTimeouts) -> None:
    """Extend the wait for a sender that resends known images, within a limit: some never stop."""
    study, window = arrival.study, _window(arrival, timeouts)
    last_new = arrival.session.scalar(
        select(func.max(Instance.received_at)).where(Instance.study_id == study.id)
    )
    longest = (last_new or study.received_at) + WINDOWS_FOR_A_RESEND * window
    study.due_at = max(study.due_at or longest, min(arrival.moment + window, longest))


def _window(arrival: Arrival, timeouts: CompletenessTimeouts) -> timedelta:
    return timeouts.manifest if arrival.missing else timeouts.idle_window


def close_study(study: Study, moment: datetime, closed_by: ClosedBy) -> None:
    """Close a study that is complete, which makes it due."""
    study.state = StudyState.ACCEPTED
    study.closed_by, study.closed_at, study.due_at = closed_by, moment, moment


def raise_to_stat(arrival: Arrival) -> None:
    """Raise an unfinished study to STAT."""
    study = arrival.study
    if study.priority is Priority.STAT or study.state in FINISHED:
        return
    study.priority = Priority.STAT
    if study.lane is Lane.ROUTINE:
        study.lane = Lane.STAT
        if study.state is StudyState.QUEUED:  # its message is in the other lane: publish another
            study.state, study.due_at = StudyState.ACCEPTED, arrival.moment
    arrival.note(AuditEvent.STUDY_RAISED_TO_STAT, revision=study.revision)


def _reopen(study: Study, moment: datetime) -> None:
    """Start a new revision like a new study; existing predictions remain and are not repeated."""
    study.revision += 1
    study.state, study.received_at = StudyState.RECEIVING, moment
    study.lane = Lane(study.priority.value)
    study.crashes = study.crashes_alone = study.retries = 0
    study.verdict = study.probability = study.threshold = study.model_version_id = None
    study.closed_by = study.closed_at = study.published_at = None
    study.started_at = study.finished_at = None
    study.waiting_seconds = study.turnaround_seconds = None
    study.clear_error()


def _revise_if_changed(arrival: Arrival) -> None:
    """Revise a study that no worker has read yet if an image changed; new images are no revision."""
    if arrival.with_receipt(InstanceReceipt.CHANGED):
        arrival.study.revision += 1
        _note_revision(arrival)


def is_being_fetched(session: Session, study: Study) -> bool:
    """Whether the study was ordered from an archive and has not been fetched completely yet."""
    if study.source not in FETCHED_BY_US:
        return False
    unfetched = select(StudyOrigin.study_id).where(
        StudyOrigin.study_id == study.id, StudyOrigin.fetched_at.is_(None)
    )
    return session.scalar(unfetched) is not None


def _revise_while_running(arrival: Arrival) -> None:
    """Revise a running study, whose attempt lacks these images; it runs again when that ends."""
    study = arrival.study
    if is_being_fetched(arrival.session, study):
        return  # the attempt itself waits for these images (C-MOVE) and reads them when they are here
    seen = arrival.session.scalar(
        select(InferenceRun.revision).where(
            InferenceRun.study_id == study.id, InferenceRun.attempt == study.attempts
        )
    )
    if study.revision == seen:
        study.revision += 1
        _note_revision(arrival)


def _note_revision(arrival: Arrival) -> None:
    arrival.note(
        AuditEvent.STUDY_REVISED,
        revision=arrival.study.revision,
        new_instances=len(arrival.with_receipt(InstanceReceipt.NEW)),
        changed_instances=len(arrival.with_receipt(InstanceReceipt.CHANGED)),
    )


def _note_resend(arrival: Arrival) -> None:
    """Collect the audit entry of a resend; contents that conflict have entries of their own."""
    duplicates = len(arrival.with_receipt(InstanceReceipt.DUPLICATE))
    if duplicates:
        arrival.note(AuditEvent.STUDY_RECEIVED_AGAIN, instances=duplicates)
