"""The images of an arrival: classify them, and insert or update their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.ledger.row_digests import images_digest
from db.models import Instance, Study
from db.studies.arrival import Arrival
from db.values import ReceivedInstance
from db.vocabulary.enums import AuditEvent, InstanceReceipt, InstanceState

IsHere = Callable[[str], bool]
"""Whether a file of this name is in the intake folder; called while the study is locked."""


def known_contents(session: Session, study_id: int) -> dict[str, set[str]]:
    """Return SOP Instance UID -> digests of all its contents; the study's row must be locked."""
    known: dict[str, set[str]] = defaultdict(set)
    query = select(Instance.sop_instance_uid, Instance.file_sha256, Instance.content_sha256)
    for row in session.execute(query.where(Instance.study_id == study_id)):
        known[row.sop_instance_uid] |= {row.file_sha256, row.content_sha256 or row.file_sha256}
    return known


def classify_instances(
    known: Mapping[str, set[str]], instances: Sequence[ReceivedInstance]
) -> list[tuple[ReceivedInstance, InstanceReceipt]]:
    """Return each instance with its receipt.

    A content that was replaced long ago still counts as known: otherwise two senders with different
    versions of an image would replace each other's for ever.
    """
    first: dict[str, set[str]] = {}
    outcomes = []
    for instance in instances:
        uid, contents = instance.sop_instance_uid, content_digests(instance)
        if uid in first:
            same = bool(first[uid] & contents)
            receipt = InstanceReceipt.DUPLICATE if same else InstanceReceipt.CONFLICTING
        elif uid not in known:
            receipt = InstanceReceipt.NEW
        else:
            same = bool(known[uid] & contents)
            receipt = InstanceReceipt.DUPLICATE if same else InstanceReceipt.CHANGED
        first.setdefault(uid, contents)
        outcomes.append((instance, receipt))
    return outcomes


def content_digests(instance: ReceivedInstance) -> set[str]:
    """Return the digests that identify the content, whatever its file meta."""
    return {instance.file_sha256, instance.content_sha256 or instance.file_sha256}


def restore_files(arrival: Arrival, is_here: IsHere) -> None:
    """Restore rows whose files the retention rule removed and which were sent again.

    Such a file is kept as long as a new one. The retention rule removes files under the same lock
    (db/studies/retention.py): a file that it removed first is not here, and its row continues to say
    so.
    """
    sent_again = {i.sop_instance_uid: i for i in arrival.with_receipt(InstanceReceipt.DUPLICATE)}
    if not sent_again:
        return
    rows = arrival.session.scalars(
        select(Instance).where(
            Instance.study_id == arrival.study.id,
            Instance.sop_instance_uid.in_(sent_again),
        )
    ).all()
    digests = {(row.sop_instance_uid, row.file_sha256) for row in rows}
    before = {row.id: row.file_sha256 for row in rows}
    returned = [
        row
        for row in rows
        if row.file_removed_at is not None
        and _restore_file(row, sent_again[row.sop_instance_uid], digests, is_here)
    ]
    for instance in returned:
        instance.file_removed_at, instance.file_returned_at = None, arrival.moment
    if returned:
        arrival.study.files_left_at = None
        _note_returned_files(arrival, before, returned)


def _note_returned_files(
    arrival: Arrival, before: Mapping[int, str], returned: Sequence[Instance]
) -> None:
    """Collect the audit entry, by which predictions of a file with another file meta are found."""
    arrival.session.flush()
    images = arrival.session.scalars(select(Instance).where(Instance.study_id == arrival.study.id))
    arrival.note(
        AuditEvent.FILES_RETURNED,
        files=len(returned),
        other_file_sha256=[
            [before[row.id], row.file_sha256]
            for row in returned
            if before[row.id] != row.file_sha256
        ],
        images_sha256=images_digest(arrival.study.study_key, images),
    )


def _restore_file(
    instance: Instance, sent: ReceivedInstance, digests: set[tuple[str, str]], is_here: IsHere
) -> bool:
    """Whether the row has a file again: its own, or the same content with another file meta.

    With another file meta only a row that counts is restored, and not under a digest that another
    row of the image has: then the file belongs to that row. `digests`: of all rows of the images.
    """
    if is_here(instance.file_name):
        return True
    if instance.replaced_in_revision is not None:
        return False
    same = {instance.file_sha256, instance.content_sha256} & content_digests(sent)
    of_another = (sent.sop_instance_uid, sent.file_sha256) in digests
    if not same or of_another or not is_here(sent.file_name):
        return False
    set_file(instance, sent)
    return True


def set_file(row: Instance, sent: ReceivedInstance) -> None:
    """Let a row refer to the file of `sent`."""
    row.file_name, row.file_sha256 = sent.file_name, sent.file_sha256
    row.file_bytes, row.content_sha256 = sent.file_bytes, sent.content_sha256


def replace_changed_instances(arrival: Arrival) -> None:
    """Mark the earlier contents of changed instances as replaced, and audit both contents' digests.

    Predictions of the earlier contents remain.
    """
    for instance in arrival.with_receipt(InstanceReceipt.CHANGED):
        replaced = arrival.session.execute(
            update(Instance)
            .where(
                Instance.study_id == arrival.study.id,
                Instance.sop_instance_uid == instance.sop_instance_uid,
                Instance.replaced_in_revision.is_(None),
            )
            .values(replaced_in_revision=arrival.study.revision)
            .returning(Instance.file_sha256, Instance.content_sha256)
        ).one()
        arrival.note(
            AuditEvent.CHANGED_INSTANCE_RECEIVED,
            revision=arrival.study.revision,
            replaced_file_sha256=replaced.file_sha256,
            replaced_content_sha256=replaced.content_sha256,
            received_file_sha256=instance.file_sha256,
            received_content_sha256=instance.content_sha256,
        )


def add_instances(arrival: Arrival) -> None:
    """Insert a row for each new or changed instance."""
    for instance in arrival.new_or_changed():
        add_instance(arrival.session, arrival.study, instance, arrival.moment)


def add_instance(
    session: Session, study: Study, instance: ReceivedInstance, moment: datetime
) -> None:
    """Insert the row of one instance; the study's row must be locked."""
    study.files_left_at = None
    session.add(
        Instance(
            study_id=study.id,
            revision=study.revision,
            state=InstanceState.PENDING,
            received_at=moment,
            **asdict(instance),
        )
    )
