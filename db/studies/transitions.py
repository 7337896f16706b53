"""What an arrival does to its study, by the state that the study is in.

| state             | whole study (`apply_whole_study`)       | one instance (`apply_instance`)                 |
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
"""To be asked for by these words: an index finds the few that are in such a state among millions,
and "none of FINISHED" finds them by reading the whole table."""
FETCHED_BY_US = frozenset({Source.DICOMWEB, Source.PULL})
"""Studies with a row in `study_origin`."""


WINDOWS_FOR_A_RESEND = 10
"""A study of which only known images come is closed so many idle windows after its last new one."""


@dataclass(frozen=True, kw_only=True)
class CompletenessTimeouts:
    """How long a study that is not closed waits for its next instance."""

    idle_window: timedelta
    """Where nobody said what it consists of."""
    manifest: timedelta
    """Where a manifest names instances that are missing."""

    @classmethod
    def of(cls, *, idle_window_s: float = 0.0, manifest_s: float) -> CompletenessTimeouts:
        """Both in seconds."""
        return cls(
            idle_window=timedelta(seconds=idle_window_s), manifest=timedelta(seconds=manifest_s)
        )


def apply_whole_study(
    arrival: Arrival, closed_by: ClosedBy, patience: CompletenessTimeouts
) -> None:
    """The sender handed over everything there is."""
    study = arrival.study
    if not arrival.new_or_changed():
        _note_resend(arrival)
    if study.state is StudyState.RECEIVING:
        _revise_if_changed(arrival)
        _close_or_wait(arrival, patience, closed_by)
    elif not arrival.new_or_changed():
        return
    elif study.state in FINISHED:
        _reopen(study, arrival.moment)
        _close_or_wait(arrival, patience, closed_by, accepts=False)
        _note_revision(arrival)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(arrival)
    else:
        _revise_if_changed(arrival)


def apply_instance(arrival: Arrival, patience: CompletenessTimeouts) -> None:
    """One instance came, and more may follow within the idle window."""
    study = arrival.study
    if not arrival.new_or_changed():
        _note_resend(arrival)
        if study.state is StudyState.RECEIVING:
            _wait_for_resender(arrival, patience)
    elif study.state is StudyState.RECEIVING:
        _revise_if_changed(arrival)
        _close_or_wait(arrival, patience)
    elif study.state in FINISHED:
        _reopen(study, arrival.moment)
        _close_or_wait(arrival, patience, accepts=False)
        _note_revision(arrival)
    elif study.state is StudyState.RUNNING:
        _revise_while_running(arrival)
        if arrival.missing == 0:
            study.closed_by = ClosedBy.MANIFEST
        else:
            # No closing rule yet: when this attempt ends, the study waits out its window again.
            study.closed_by, study.due_at = None, arrival.moment + _window(arrival, patience)
    else:
        _revise_if_changed(arrival)


def apply_manifest(arrival: Arrival, patience: CompletenessTimeouts) -> None:
    """Only a manifest came: it decides over a study that is still received."""
    if arrival.study.state is StudyState.RECEIVING:
        _close_or_wait(arrival, patience)


def _close_or_wait(
    arrival: Arrival,
    patience: CompletenessTimeouts,
    otherwise: ClosedBy | None = None,
    *,
    accepts: bool = True,
) -> None:
    """Close a study that is received by its manifest, or without one by the rule `otherwise`."""
    rule = ClosedBy.MANIFEST if arrival.missing == 0 else otherwise
    if arrival.missing or rule is None:
        arrival.study.due_at = arrival.moment + _window(arrival, patience)
    else:
        close_study(arrival.study, arrival.moment, rule)
        arrival.accepts = accepts


def _wait_for_resender(arrival: Arrival, patience: CompletenessTimeouts) -> None:
    """Even an image that is known shows that the sender is at it; but some senders never stop."""
    study, window = arrival.study, _window(arrival, patience)
    last_new = arrival.session.scalar(
        select(func.max(Instance.received_at)).where(Instance.study_id == study.id)
    )
    longest = (last_new or study.received_at) + WINDOWS_FOR_A_RESEND * window
    study.due_at = max(study.due_at or longest, min(arrival.moment + window, longest))


def _window(arrival: Arrival, patience: CompletenessTimeouts) -> timedelta:
    return patience.manifest if arrival.missing else patience.idle_window


def close_study(study: Study, moment: datetime, closed_by: ClosedBy) -> None:
    """The study is complete: from now on it is due."""
    study.state = StudyState.ACCEPTED
    study.closed_by, study.closed_at, study.due_at = closed_by, moment, moment


def raise_to_stat(arrival: Arrival) -> None:
    """A resend asked for STAT: an unfinished study goes first from now on."""
    study = arrival.study
    if study.priority is Priority.STAT or study.state in FINISHED:
        return
    study.priority = Priority.STAT
    if study.lane is Lane.ROUTINE:
        study.lane = Lane.STAT
        if study.state is StudyState.QUEUED:  # its message waits in the other lane: send another
            study.state, study.due_at = StudyState.ACCEPTED, arrival.moment
    arrival.note(AuditEvent.STUDY_RAISED_TO_STAT, revision=study.revision)


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


def _revise_if_changed(arrival: Arrival) -> None:
    """A study that no worker has looked at yet: more images are no revision, changed ones are."""
    if arrival.having(InstanceReceipt.CHANGED):
        arrival.study.revision += 1
        _note_revision(arrival)


def is_being_fetched(session: Session, study: Study) -> bool:
    """Whether the study was ordered from an archive and its images are not all here yet."""
    if study.source not in FETCHED_BY_US:
        return False
    unfetched = select(StudyOrigin.study_id).where(
        StudyOrigin.study_id == study.id, StudyOrigin.fetched_at.is_(None)
    )
    return session.scalar(unfetched) is not None


def _revise_while_running(arrival: Arrival) -> None:
    """The running attempt does not know these images; the revision says so when it ends."""
    study = arrival.study
    if is_being_fetched(arrival.session, study):
        return  # it waits for these very images (C-MOVE), and looks again when they are here
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
        new_instances=len(arrival.having(InstanceReceipt.NEW)),
        changed_instances=len(arrival.having(InstanceReceipt.CHANGED)),
    )


def _note_resend(arrival: Arrival) -> None:
    """A resend; one that differs is told by its conflicts alone."""
    duplicates = len(arrival.having(InstanceReceipt.DUPLICATE))
    if duplicates:
        arrival.note(AuditEvent.STUDY_RECEIVED_AGAIN, instances=duplicates)
