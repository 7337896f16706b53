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
    note_conflicts,
    raise_to_stat,
    settle_part,
    settle_whole,
)
from db.enums import (
    AuditEvent,
    ClosedBy,
    InstanceReceipt,
    InstanceState,
    Lane,
    Priority,
    StudyState,
)
from db.models import Instance, Study, StudyIdentity
from db.records import Acceptance, InstanceAcceptance, ReceivedInstance, ReceivedStudy
from db.statements import insert_if_new

IsHere = Callable[[str], bool]
"""Whether a file of this name lies in the intake folder; asked while the study is locked."""


def nowhere(_file_name: str) -> bool:
    """For who hands over rows without files."""
    return False


def accept(
    session: Session,
    received: ReceivedStudy,
    *,
    closed_by: ClosedBy = ClosedBy.SENDER,
    is_here: IsHere = nowhere,
) -> Acceptance:
    """Take over a whole study, ready to be published.

    A resend that brings nothing new changes nothing (but a STAT resend raises an unfinished study).
    New images for a finished study make a new revision; for a running one too, and it is run again
    when this attempt has ended; a waiting study simply has more images. A file that had left by the
    retention rule is kept again, if `is_here` says that it lies in the intake folder.
    """
    return _take_over(session, received, lambda d: settle_whole(d, closed_by), is_here)


def receive_instance(
    session: Session,
    received: ReceivedStudy,
    *,
    idle_window_s: float,
    is_here: IsHere = nowhere,
) -> Acceptance:
    """Take over one instance of a study that is still coming in; each moves the end of the wait."""
    window = timedelta(seconds=idle_window_s)
    return _take_over(session, received, lambda d: settle_part(d, window), is_here)


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
    session: Session,
    received: ReceivedStudy,
    settle: Callable[[Delivery], None],
    is_here: IsHere,
) -> Acceptance:
    moment = now(session)
    study, is_new = _lock_study(session, received, moment)
    sorted_out = _sort_out(session, study.id, received.instances)
    delivery = Delivery(session=session, moment=moment, study=study, outcomes=sorted_out)
    settle(delivery)
    _add_new_instances(delivery)
    note_conflicts(delivery)
    _take_files_back(delivery, is_here)
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
    return study, study_id is not None


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


def _take_files_back(delivery: Delivery, is_here: IsHere) -> None:
    """Files that left by the retention rule and were sent again are kept as long as new ones.

    The retention rule removes files under the same lock (db/retention.py): one that it was quicker
    with is not here, and its row goes on saying so.
    """
    sent_again = {i.sop_instance_uid for i in delivery.having(InstanceReceipt.DUPLICATE)}
    if not sent_again:
        return
    removed = delivery.session.scalars(
        select(Instance).where(
            Instance.study_id == delivery.study.id,
            Instance.file_removed_at.is_not(None),
        )
    )
    returned = [
        instance
        for instance in removed
        if instance.sop_instance_uid in sent_again and is_here(instance.file_name)
    ]
    for instance in returned:
        instance.file_removed_at, instance.file_returned_at = None, delivery.moment
    if returned:
        delivery.note(AuditEvent.FILES_RETURNED, files=len(returned))


def _add_new_instances(delivery: Delivery) -> None:
    for instance in delivery.having(InstanceReceipt.NEW):
        delivery.session.add(
            Instance(
                study_id=delivery.study.id,
                revision=delivery.study.revision,
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
                received_at=delivery.moment,
            )
        )
