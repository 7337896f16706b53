"""Taking studies over: one transaction, and only after its commit may the sender be told yes.

Sending anything twice is harmless: the study is known by its Study Instance UID, an instance by its
SOP Instance UID, and the constraints decide who came first, from however many processes at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import append_all
from db.clock import now
from db.delivery import (
    Delivery,
    accepted_entry,
    close,
    is_being_fetched,
    note_conflicts,
    raise_to_stat,
    settle_part,
    settle_whole,
)
from db.enums import ClosedBy, InstanceReceipt, InstanceState, Lane, Priority, StudyState
from db.models import Instance, Study, StudyIdentity
from db.records import Acceptance, InstanceAcceptance, ReceivedInstance, ReceivedStudy
from db.statements import insert_if_new


def accept(
    session: Session, received: ReceivedStudy, *, closed_by: ClosedBy = ClosedBy.SENDER
) -> Acceptance:
    """Take over a whole study, ready to be published.

    A resend that brings nothing new changes nothing (but a STAT resend raises an unfinished study).
    New images for a finished study make a new revision; for a running one too, and it is run again
    when this attempt has ended; a waiting study simply has more images.
    """
    return _take_over(session, received, lambda delivery: settle_whole(delivery, closed_by))


def receive_instance(
    session: Session, received: ReceivedStudy, *, idle_window_s: float
) -> Acceptance:
    """Take over one instance of a study that is still coming in; each moves the end of the wait."""
    window = timedelta(seconds=idle_window_s)
    return _take_over(session, received, lambda delivery: settle_part(delivery, window))


def close_idle_studies(session: Session) -> list[str]:
    """Close every study that got no instance for its idle window; returns their keys."""
    moment = now(session)
    idle = session.scalars(
        select(Study)
        .where(Study.state == StudyState.RECEIVING, Study.due_at <= moment)
        .order_by(Study.id)
        .with_for_update(skip_locked=True)
    ).all()
    for study in idle:
        close(study, moment, ClosedBy.IDLE_WINDOW)
    append_all(session, [accepted_entry(session, study) for study in idle])
    return [study.study_key for study in idle]


# --- the one story behind both ways in ------------------------------------------------------------


def _take_over(
    session: Session, received: ReceivedStudy, settle: Callable[[Delivery], None]
) -> Acceptance:
    moment = now(session)
    study, is_new = _lock_study(session, received, moment)
    sorted_out = _sort_out(session, study.id, received.instances)
    delivery = Delivery(session=session, moment=moment, study=study, outcomes=sorted_out)
    settle(delivery)
    _add_new_instances(delivery)
    note_conflicts(delivery)
    if received.priority is Priority.STAT:
        raise_to_stat(delivery)
    append_all(session, delivery.entries())
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


def _lock_study(session: Session, received: ReceivedStudy, moment: datetime) -> tuple[Study, bool]:
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
        _keep_identity(session, study_id, received, moment)
    study = session.scalars(
        select(Study)
        .where(Study.study_instance_uid == received.study_instance_uid)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if study_id is None and is_being_fetched(session, study):
        fill_in(session, study, received, moment)
    return study, study_id is not None


def fill_in(session: Session, study: Study, received: ReceivedStudy, moment: datetime) -> None:
    """What an order could not know of the patient, from the first images that come."""
    study.patient_sex = study.patient_sex or received.patient_sex
    if study.patient_age_years is None:
        study.patient_age_years = received.patient_age_years
    study.site_ae_title = study.site_ae_title or received.site_ae_title
    if session.get(StudyIdentity, study.id) is None:
        _keep_identity(session, study.id, received, moment)


def _keep_identity(
    session: Session, study_id: int, received: ReceivedStudy, moment: datetime
) -> None:
    """Only with the first delivery: what was erased must not come back with a resend."""
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


def _sort_out(
    session: Session, study_id: int, instances: Sequence[ReceivedInstance]
) -> list[tuple[ReceivedInstance, InstanceReceipt]]:
    """What each instance is; the study's row is locked, so nobody adds instances meanwhile."""
    query = select(Instance.sop_instance_uid, Instance.file_sha256)
    known = {
        row.sop_instance_uid: row.file_sha256
        for row in session.execute(query.where(Instance.study_id == study_id))
    }
    sorted_out = []
    for instance in instances:
        kept = known.setdefault(instance.sop_instance_uid, "")
        known[instance.sop_instance_uid] = kept or instance.file_sha256
        sorted_out.append((instance, _compare(kept, instance.file_sha256)))
    return sorted_out


def _compare(kept: str, came: str) -> InstanceReceipt:
    if not kept:
        return InstanceReceipt.NEW
    return InstanceReceipt.DUPLICATE if kept == came else InstanceReceipt.CONFLICTING


def _add_new_instances(delivery: Delivery) -> None:
    for instance in delivery.having(InstanceReceipt.NEW):
        add_instance(delivery.session, delivery.study, instance, delivery.moment)


def add_instance(
    session: Session, study: Study, instance: ReceivedInstance, moment: datetime
) -> None:
    """One more row; the study's row is locked."""
    session.add(
        Instance(
            study_id=study.id,
            revision=study.revision,
            sop_instance_uid=instance.sop_instance_uid,
            series_instance_uid=instance.series_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            transfer_syntax_name=instance.transfer_syntax_name,
            file_sha256=instance.file_sha256,
            file_name=instance.file_name,
            file_bytes=instance.file_bytes,
            modality=instance.modality,
            body_part=instance.body_part,
            view_position=instance.view_position,
            manufacturer=instance.manufacturer,
            rows=instance.rows,
            columns=instance.columns,
            state=InstanceState.PENDING,
            received_at=moment,
        )
    )
