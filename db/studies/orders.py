"""Ordered studies: rows without images until a worker has fetched them from an archive.

An order is a study like any other (accepted, published, claimed), with a row beside it that says
where its images are. What a fetch brings is written under the claim's fencing token.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import insert_if_new
from db.ledger.audit import append_entries, append_entry
from db.models import Instance, Study, StudyOrigin
from db.studies.arrival import Arrival, accepted_entry
from db.studies.claims import claimed_instances, held_study
from db.studies.instance_upsert import add_instance, content_digests
from db.studies.intake import fill_in_patient
from db.studies.transitions import FETCHED_BY_US, UNFINISHED, raise_to_stat
from db.values import (
    Claim,
    ClaimedInstance,
    OrderConfirmation,
    Origin,
    ReceivedInstance,
    ReceivedStudy,
    StudyOrder,
)
from db.vocabulary.enums import AuditEvent, ClosedBy, InstanceState, Lane, Priority, StudyState
from db.vocabulary.errors import FetchedContentDiffers

# --- ordering -------------------------------------------------------------------------------------


def place_order(session: Session, wanted: StudyOrder) -> OrderConfirmation:
    """Write down that a study is to be fetched; due at once.

    A study that is known, however it came, is not ordered again; asked for as STAT it is raised.
    """
    moment = now(session)
    study_id = insert_if_new(
        session,
        Study,
        study_key=secrets.token_hex(16),
        study_instance_uid=wanted.study_instance_uid,
        revision=1,
        state=StudyState.ACCEPTED,
        priority=wanted.priority,
        lane=Lane(wanted.priority.value),
        source=wanted.source,
        # Until the archive has counted: whoever ordered it means all of it.
        closed_by=ClosedBy.SENDER,
        received_at=moment,
        due_at=moment,
    )
    study = session.scalars(
        select(Study)
        .where(Study.study_instance_uid == wanted.study_instance_uid)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if study_id is None:
        _raise_if_stat(session, study, wanted.priority, moment)
    else:
        session.add(
            StudyOrigin(
                study_id=study_id,
                peer=wanted.peer,
                base_url=wanted.base_url,
                way=wanted.way,
                ordered_at=moment,
            )
        )
        detail = {
            "priority": wanted.priority.value,
            "source": wanted.source.value,
            "peer": wanted.peer,
            "way": wanted.way.value,
        }
        actor = f"intake:{wanted.source.value}"
        append_entry(session, AuditEvent.STUDY_ORDERED, study.study_key, detail, actor)
    return OrderConfirmation(
        study_key=study.study_key, is_new=study_id is not None, state=study.state
    )


def _raise_if_stat(session: Session, study: Study, asked: Priority, moment: datetime) -> None:
    if asked is Priority.STAT:
        arrival = Arrival(session=session, moment=moment, study=study, outcomes=())
        raise_to_stat(arrival)
        append_entries(session, arrival.entries())


def known_studies(session: Session, uids: Collection[str]) -> set[str]:
    """Which of these Study Instance UIDs are here already, however they came."""
    found = select(Study.study_instance_uid).where(Study.study_instance_uid.in_(uids))
    return set(session.scalars(found))


def outstanding_orders(session: Session) -> int:
    """Ordered studies that have come to nothing yet."""
    return session.scalar(
        select(func.count())
        .select_from(StudyOrigin)
        .join(Study, Study.id == StudyOrigin.study_id)
        .where(Study.state.in_(UNFINISHED))
    ) or 0  # fmt: skip


def unfetched_orders(session: Session) -> dict[str, int]:
    """Ordered studies whose images are not here yet, by the name of the archive."""
    rows = session.execute(
        select(StudyOrigin.peer, func.count())
        .join(Study, Study.id == StudyOrigin.study_id)
        .where(StudyOrigin.fetched_at.is_(None), Study.state.in_(UNFINISHED))
        .group_by(StudyOrigin.peer)
        .order_by(StudyOrigin.peer)
    )
    return {peer or "an address": count for peer, count in rows}


# --- fetching -------------------------------------------------------------------------------------


def origin_of(session: Session, claim: Claim) -> Origin | None:
    """Where the images of a claimed study come from; None if they were sent to us."""
    if claim.source not in FETCHED_BY_US:
        return None
    row = session.execute(
        select(
            Study.study_instance_uid,
            StudyOrigin.way,
            StudyOrigin.peer,
            StudyOrigin.base_url,
            StudyOrigin.fetched_at,
        )
        .join(StudyOrigin, StudyOrigin.study_id == Study.id)
        .where(Study.id == claim.study_id)
    ).one_or_none()
    if row is None:
        return None
    return Origin(
        study_instance_uid=row.study_instance_uid,
        way=row.way,
        peer=row.peer,
        base_url=row.base_url,
        fetched=row.fetched_at is not None,
    )


def instances_here(session: Session, claim: Claim) -> set[str]:
    """SOP Instance UIDs of the images of a claimed study that are here now."""
    return set(
        session.scalars(
            select(Instance.sop_instance_uid).where(
                Instance.study_id == claim.study_id, Instance.replaced_in_revision.is_(None)
            )
        )
    )


def record_fetch(
    session: Session,
    claim: Claim,
    received: ReceivedStudy | None,
    *,
    expected: int | None,
    absent: Collection[str] = (),
    missing: Mapping[str, int] = MappingProxyType({}),
) -> tuple[ClaimedInstance, ...]:
    """Write what a fetch brought; gives all instances of the study, ready to be judged.

    `received`: None if the images came through the listener (C-MOVE). `expected`: how many the
    archive says there are. `absent`: file names of rows whose files are not on this machine's
    disk; the same content in other bytes takes their place, and another content as long as nothing
    was said of them.
    `missing`: of what is expected, how many did not come or were refused, by code.

    Raises StaleClaim, and FetchedOtherwise if an image that was predicted or refused now has another
    content, or a content that was replaced here since; then nothing is written.
    """
    moment = now(session)
    study = held_study(session, claim)
    origin = session.get_one(StudyOrigin, study.id, populate_existing=True)
    first = origin.fetched_at is None
    replaced = 0
    if received is not None:
        if first:
            fill_in_patient(session, study, received, moment)
        replaced = _add_or_replace(session, study, received.instances, absent, moment)
    session.flush()
    instances = claimed_instances(session, study.id)
    if first:
        origin.fetched_at, origin.expected_instances = moment, expected
        study.received_at = study.closed_at = moment
        complete = expected is not None and not missing
        study.closed_by = ClosedBy.PACS_COUNT if complete else ClosedBy.SENDER
    detail: dict[str, object] = {
        "attempt": claim.token,
        "instances": len(instances),
        "expected": expected,
        "replaced": replaced,
        "peer": origin.peer,
        "way": origin.way.value,
    }
    if missing:
        detail["missing"] = dict(missing)
    if first:
        append_entries(session, [accepted_entry(session, study)])
    append_entry(session, AuditEvent.STUDY_FETCHED, claim.study_key, detail, claim.worker_name)
    return instances


def _add_or_replace(
    session: Session,
    study: Study,
    came: Sequence[ReceivedInstance],
    absent: Collection[str],
    moment: datetime,
) -> int:
    """New images become rows, and files that are gone are replaced; returns how many were."""
    rows = session.scalars(
        select(Instance)
        .where(Instance.study_id == study.id)
        .execution_options(populate_existing=True)
    ).all()
    known = {row.sop_instance_uid: row for row in rows if row.replaced_in_revision is None}
    digests = {(row.sop_instance_uid, row.file_sha256) for row in rows}
    replaced = 0
    for uid, instance in {instance.sop_instance_uid: instance for instance in came}.items():
        row = known.get(uid)
        if row is None:
            add_instance(session, study, instance, moment)
        elif row.file_sha256 != instance.file_sha256 and row.file_name in absent:
            # A digest that another row of the image has is a content that was replaced here since.
            if (uid, instance.file_sha256) in digests or not _may_replace(instance, row):
                raise FetchedContentDiffers
            row.file_sha256, row.file_name = instance.file_sha256, instance.file_name
            row.file_bytes, row.content_sha256 = instance.file_bytes, instance.content_sha256
            row.transfer_syntax_uid = instance.transfer_syntax_uid
            row.transfer_syntax_name = instance.transfer_syntax_name
            replaced += 1
    return replaced


def _may_replace(instance: ReceivedInstance, row: Instance) -> bool:
    """Whether a file may take the place of the one that is gone: the same content in any wrapping
    (an archive that was upgraded writes another file meta), and any as long as nothing was said."""
    is_same = bool({row.file_sha256, row.content_sha256} & content_digests(instance))
    return is_same or row.state is InstanceState.PENDING
