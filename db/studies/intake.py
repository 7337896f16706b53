"""Taking studies over: one transaction, and only after its commit may the sender be told yes.

Sending anything twice is harmless: the study is known by its Study Instance UID, an instance by its
SOP Instance UID and its content, and the constraints decide who came first, from however many
processes at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import insert_if_new
from db.ledger.audit import AuditEntry, append_entries
from db.ledger.identity import was_erased
from db.models import Instance, Study, StudyIdentity
from db.studies.arrival import Arrival, accepted_entry, entry, note_changes, note_conflicts
from db.studies.instance_upsert import (
    IsHere,
    add_instances,
    classify_instances,
    known_contents,
    replace_changed_instances,
    restore_files,
)
from db.studies.manifests import missing, store_manifest
from db.studies.results import park_study
from db.studies.transitions import (
    CompletenessTimeouts,
    apply_instance,
    apply_manifest,
    apply_whole_study,
    close_study,
    is_being_fetched,
    raise_to_stat,
)
from db.values import (
    Acceptance,
    Failure,
    InstanceAcceptance,
    ReceivedInstance,
    ReceivedStudy,
)
from db.vocabulary.enums import (
    AuditEvent,
    ClosedBy,
    FailureKind,
    Lane,
    Priority,
    Source,
    StudyState,
)

NOTHING_CAME = "NOTHING_CAME"
NOTHING_CAME_SENTENCE = (
    "A manifest announced this study, and none of its images came in time, so there is nothing to "
    "predict. Ask its sender to send the images; the study goes on by itself when they come."
)


def never_here(_file_name: str) -> bool:
    """For who hands over rows without files."""
    return False


def accept(
    session: Session,
    received: ReceivedStudy,
    *,
    closed_by: ClosedBy = ClosedBy.SENDER,
    manifest: Sequence[str] | None = None,
    manifest_patience_s: float = 3600.0,
    is_here: IsHere = never_here,
) -> Acceptance:
    """Take over a whole study, ready to be published; with a manifest, what there is of it so far.

    A resend that brings nothing new changes nothing (but a STAT resend raises an unfinished study).
    New images for a finished study make a new revision; for a running one too, and it is run again
    when this attempt has ended; a waiting study simply has more images. An image with another
    content than before makes a new revision of any study. Where a manifest (SOP Instance UIDs, now
    or earlier) names images that are not here, the study waits for them. A file that had left by the retention
    rule is kept again, if `is_here` says that it lies in the intake folder.
    """
    patience = CompletenessTimeouts.of(manifest_s=manifest_patience_s)
    return _apply_arrival(
        session,
        received,
        lambda arrival: apply_whole_study(arrival, closed_by, patience),
        manifest=manifest,
        is_here=is_here,
    )


def receive_instance(
    session: Session,
    received: ReceivedStudy,
    *,
    idle_window_s: float,
    manifest_patience_s: float = 3600.0,
    is_here: IsHere = never_here,
) -> Acceptance:
    """Take over one instance of a study that is still coming in; each moves the end of the wait."""
    patience = CompletenessTimeouts.of(idle_window_s=idle_window_s, manifest_s=manifest_patience_s)
    return _apply_arrival(
        session, received, lambda arrival: apply_instance(arrival, patience), is_here=is_here
    )


def announce(
    session: Session,
    study_instance_uid: str,
    manifest: Sequence[str],
    *,
    priority: Priority,
    source: Source,
    manifest_patience_s: float = 3600.0,
) -> Acceptance:
    """Take note of what a study will consist of, before, while or after its images come.

    `manifest`: SOP Instance UIDs. A study that is still received is closed by it as soon as
    everything is here; one that was closed before stays as it is, and late images revise it.
    """
    announced = _Announced(study_instance_uid=study_instance_uid, priority=priority, source=source)
    patience = CompletenessTimeouts.of(manifest_s=manifest_patience_s)
    return _apply_arrival(
        session,
        announced,
        lambda arrival: apply_manifest(arrival, patience),
        manifest=manifest,
    )


def close_idle_studies(session: Session) -> list[str]:
    """Close every study that waited out its window; returns their keys.

    An announced study of which nothing came is parked with NOTHING_CAME: no images are no negative.
    """
    moment = now(session)
    idle = session.scalars(
        select(Study)
        .where(Study.state == StudyState.RECEIVING, Study.due_at <= moment)
        .order_by(Study.id)
        .with_for_update(skip_locked=True)
    ).all()
    append_entries(session, [_close_idle(session, study, moment) for study in idle])
    return [study.study_key for study in idle]


def _close_idle(session: Session, study: Study, moment: datetime) -> AuditEntry:
    if _has_no_image(session, study):
        failure = Failure(
            kind=FailureKind.REJECTED, code=NOTHING_CAME, sentence=NOTHING_CAME_SENTENCE
        )
        park_study(study, moment, failure)
        detail = {"code": failure.code, "kind": failure.kind.value}
        return entry(study, AuditEvent.STUDY_PARKED, detail)
    close_study(study, moment, ClosedBy.IDLE_WINDOW)
    return accepted_entry(session, study)


# --- the one story behind all ways in -------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Announced:
    """A study of which nothing is here yet; the same fields as `ReceivedStudy`."""

    study_instance_uid: str = field(repr=False)
    priority: Priority
    source: Source
    instances: tuple[ReceivedInstance, ...] = ()
    site_ae_title: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None
    patient_sex: str | None = None
    patient_age_years: float | None = None


def _apply_arrival(
    session: Session,
    received: ReceivedStudy | _Announced,
    settle: Callable[[Arrival], None],
    *,
    manifest: Sequence[str] | None = None,
    is_here: IsHere = never_here,
) -> Acceptance:
    moment = now(session)
    study, is_new = _lock_study(session, received, moment)
    known = known_contents(session, study.id)
    sorted_out = classify_instances(known, received.instances)
    arrival = Arrival(session=session, moment=moment, study=study, outcomes=sorted_out)
    if manifest is not None:
        named = store_manifest(session, study.id, manifest, moment)
        arrival.note(AuditEvent.MANIFEST_RECEIVED, instances=named)
    here = {*known, *(instance.sop_instance_uid for instance in received.instances)}
    arrival.missing = missing(session, study.id, here)
    settle(arrival)
    note_changes(arrival)
    replace_changed_instances(arrival)
    add_instances(arrival)
    note_conflicts(arrival)
    restore_files(arrival, is_here)
    if received.priority is Priority.STAT:
        raise_to_stat(arrival)
    append_entries(session, arrival.entries())
    return Acceptance(
        study_key=study.study_key,
        is_new=is_new,
        instances=tuple(
            InstanceAcceptance(outcome=outcome, file_name=instance.file_name)
            for instance, outcome in sorted_out
        ),
        state=study.state,
        revision=study.revision,
    )


def _lock_study(
    session: Session, received: ReceivedStudy | _Announced, moment: datetime
) -> tuple[Study, bool]:
    """The study's row, ours until the commit, and whether it is new."""
    study_id = insert_if_new(
        session,
        Study,
        study_key=secrets.token_hex(16),
        study_instance_uid=received.study_instance_uid,
        revision=1,
        state=StudyState.RECEIVING,
        priority=received.priority,
        lane=Lane(received.priority.value),
        source=received.source,
        site_ae_title=received.site_ae_title,
        patient_sex=received.patient_sex,
        patient_age_years=received.patient_age_years,
        received_at=moment,
    )
    if study_id is not None:
        _store_identity(session, study_id, received, moment)
    study = session.scalars(
        select(Study)
        .where(Study.study_instance_uid == received.study_instance_uid)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if study_id is None and (is_being_fetched(session, study) or _has_no_image(session, study)):
        fill_in_patient(session, study, received, moment)
    return study, study_id is not None


def fill_in_patient(
    session: Session, study: Study, received: ReceivedStudy | _Announced, moment: datetime
) -> None:
    """What an order or a manifest could not know of the patient, from the first images that come.

    Not later: what was erased must not come back with a resend.
    """
    study.patient_sex = study.patient_sex or received.patient_sex
    if study.patient_age_years is None:
        study.patient_age_years = received.patient_age_years
    study.site_ae_title = study.site_ae_title or received.site_ae_title
    if session.get(StudyIdentity, study.id) is None and not was_erased(session, study.study_key):
        _store_identity(session, study.id, received, moment)


def _has_no_image(session: Session, study: Study) -> bool:
    return not session.scalar(select(exists().where(Instance.study_id == study.id)))


def _store_identity(
    session: Session, study_id: int, received: ReceivedStudy | _Announced, moment: datetime
) -> None:
    if received.patient_id is None and received.accession_number is None:
        return
    session.add(
        StudyIdentity(
            study_id=study_id,
            patient_id=received.patient_id,
            accession_number=received.accession_number,
            recorded_at=moment,
        )
    )
