"""Ordered studies: rows without images until a worker has fetched these from an archive.

An ordered study is accepted, published and claimed like any other; a second row says where its
images are. A fetch is recorded under the claim's fencing token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.ledger.audit import append_entries, append_entry
from db.models import Instance, Study, StudyOrigin
from db.studies.arrival import Arrival, accepted_entry, current_images, entry
from db.studies.claims import claimed_instances, held_study
from db.studies.instance_upsert import add_instance, content_digests, set_file
from db.studies.intake import fill_in_patient, lock_study
from db.studies.transitions import FETCHED_BY_US, UNFINISHED, raise_to_stat
from db.values import (
    Claim,
    ClaimedInstance,
    OrderConfirmation,
    PlacedOrder,
    ReceivedInstance,
    ReceivedStudy,
    StudyOrder,
)
from db.values.rows import from_row
from db.vocabulary.enums import AuditEvent, ClosedBy, InstanceState, Priority, StudyState
from db.vocabulary.errors import FetchedContentDiffers

# --- ordering -------------------------------------------------------------------------------------


def place_order(session: Session, wanted: StudyOrder) -> OrderConfirmation:
    """Order a study from an archive; it is due at once.

    Args:
        session: The running transaction.
        wanted: Study, archive and priority.

    Returns:
        The confirmation, true once the transaction is committed. A study that is known, however it
        came, is not ordered again; a STAT order raises it to STAT.
    """
    moment = now(session)
    study, is_new = lock_study(
        session,
        wanted,
        moment,
        state=StudyState.ACCEPTED,
        # Until the archive has counted: whoever ordered the study means all of it.
        closed_by=ClosedBy.SENDER,
        due_at=moment,
    )
    if is_new:
        origin = {"peer": wanted.peer, "way": wanted.way}
        session.add(
            StudyOrigin(study_id=study.id, base_url=wanted.base_url, ordered_at=moment, **origin)
        )
        detail = {"priority": wanted.priority.value, "source": wanted.source.value, **origin}
        append_entries(session, [entry(study, AuditEvent.STUDY_ORDERED, detail)])
    elif wanted.priority is Priority.STAT:
        arrival = Arrival(session=session, moment=moment, study=study, outcomes=())
        raise_to_stat(arrival)
        append_entries(session, arrival.entries())
    return OrderConfirmation(study_key=study.study_key, is_new=is_new, state=study.state)


def known_studies(session: Session, uids: Collection[str]) -> set[str]:
    """Return which of these Study Instance UIDs are known, however they came."""
    found = select(Study.study_instance_uid).where(Study.study_instance_uid.in_(uids))
    return set(session.scalars(found))


def outstanding_orders(session: Session) -> int:
    """Count the ordered studies that are not finished."""
    return session.scalar(
        select(func.count())
        .select_from(StudyOrigin)
        .join(Study, Study.id == StudyOrigin.study_id)
        .where(Study.state.in_(UNFINISHED))
    ) or 0  # fmt: skip


def unfetched_orders(session: Session) -> dict[str, int]:
    """Count the unfinished ordered studies that were never fetched completely, by archive."""
    rows = session.execute(
        select(StudyOrigin.peer, func.count())
        .join(Study, Study.id == StudyOrigin.study_id)
        .where(StudyOrigin.fetched_at.is_(None), Study.state.in_(UNFINISHED))
        .group_by(StudyOrigin.peer)
        .order_by(StudyOrigin.peer)
    )
    return {peer or "an address": count for peer, count in rows}


# --- fetching -------------------------------------------------------------------------------------


def placed_order_of(session: Session, claim: Claim) -> PlacedOrder | None:
    """Return the order of a claimed study; None if its images were sent to us."""
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
    return from_row(PlacedOrder, row, fetched=row.fetched_at is not None)


def instances_here(session: Session, claim: Claim) -> set[str]:
    """Return the SOP Instance UIDs of a claimed study's images that are here now."""
    return current_images(session, claim.study_id)


def record_fetch(
    session: Session,
    claim: Claim,
    received: ReceivedStudy | None,
    *,
    expected: int | None,
    absent: Collection[str] = (),
    missing: Mapping[str, int] = MappingProxyType({}),
) -> tuple[ClaimedInstance, ...]:
    """Record what a fetch brought.

    Args:
        session: The running transaction.
        claim: The claim under which the images were fetched.
        received: The images; None if they came through the listener (C-MOVE).
        expected: How many instances the archive reported; None if it reported no number.
        absent: File names of rows whose files are not on this machine's disk. A fetched file with
            the same content replaces such a file, and one with another content does as long as the
            image was not assessed.
        missing: How many of the expected instances did not come or were refused, by code.

    Returns:
        All instances of the study, ready to be assessed.

    Raises:
        StaleClaim: The claim is lost; nothing was written.
        FetchedContentDiffers: An image that was predicted or refused now has another content, or a
            content that was replaced here since; nothing was written.
    """
    moment = now(session)
    study = held_study(session, claim)
    origin = session.get_one(StudyOrigin, study.id, populate_existing=True)
    first = origin.fetched_at is None
    replaced: list[list[str]] = []
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
        "replaced": len(replaced),
        "other_file_sha256": replaced,
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
) -> list[list[str]]:
    """Insert rows of new images and replace files that are gone; return old and new digest of each."""
    rows = session.scalars(
        select(Instance)
        .where(Instance.study_id == study.id)
        .execution_options(populate_existing=True)
    ).all()
    known = {row.sop_instance_uid: row for row in rows if row.replaced_in_revision is None}
    digests = {(row.sop_instance_uid, row.file_sha256) for row in rows}
    replaced = []
    for uid, instance in {instance.sop_instance_uid: instance for instance in came}.items():
        row = known.get(uid)
        if row is None:
            add_instance(session, study, instance, moment)
        elif row.file_sha256 != instance.file_sha256 and row.file_name in absent:
            # If another row of the image has this digest, the content was replaced here since.
            if (uid, instance.file_sha256) in digests or not _may_replace(instance, row):
                raise FetchedContentDiffers
            replaced.append([row.file_sha256, instance.file_sha256])
            set_file(row, instance)
            row.transfer_syntax_uid = instance.transfer_syntax_uid
            row.transfer_syntax_name = instance.transfer_syntax_name
    return replaced


def _may_replace(instance: ReceivedInstance, row: Instance) -> bool:
    """Whether a file may replace the one that is gone.

    The same content may, with any file meta (an archive that was upgraded writes another one), and
    any content as long as the image was not assessed.
    """
    is_same = bool({row.file_sha256, row.content_sha256} & content_digests(instance))
    return is_same or row.state is InstanceState.PENDING
