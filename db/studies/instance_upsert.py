"""The images of an arrival: which of them are new, and what becomes of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Instance, Study
from db.studies.arrival import Arrival
from db.values import ReceivedInstance
from db.vocabulary.enums import AuditEvent, InstanceReceipt, InstanceState

IsHere = Callable[[str], bool]
"""Whether a file of this name lies in the intake folder; asked while the study is locked."""


def known_contents(session: Session, study_id: int) -> dict[str, set[str]]:
    """SOP Instance UID -> digests of all its contents; the study's row is locked meanwhile."""
    known: dict[str, set[str]] = defaultdict(set)
    query = select(Instance.sop_instance_uid, Instance.file_sha256, Instance.content_sha256)
    for row in session.execute(query.where(Instance.study_id == study_id)):
        known[row.sop_instance_uid] |= {row.file_sha256, row.content_sha256 or row.file_sha256}
    return known


def classify_instances(
    known: Mapping[str, set[str]], instances: Sequence[ReceivedInstance]
) -> list[tuple[ReceivedInstance, InstanceReceipt]]:
    """What each instance is. A content that was replaced long ago is known, too: senders that hold
    different versions of an image must not take turns for ever."""
    first: dict[str, set[str]] = {}
    sorted_out = []
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
        sorted_out.append((instance, receipt))
    return sorted_out


def content_digests(instance: ReceivedInstance) -> set[str]:
    """The digests by which it is known again, however it is wrapped."""
    return {instance.file_sha256, instance.content_sha256 or instance.file_sha256}


def restore_files(arrival: Arrival, is_here: IsHere) -> None:
    """Files that left by the retention rule and were sent again are kept as long as new ones.

    The retention rule removes files under the same lock (db/studies/retention.py): one that it was quicker
    with is not here, and its row goes on saying so.
    """
    sent_again = {i.sop_instance_uid: i for i in arrival.having(InstanceReceipt.DUPLICATE)}
    if not sent_again:
        return
    rows = arrival.session.scalars(
        select(Instance).where(
            Instance.study_id == arrival.study.id,
            Instance.sop_instance_uid.in_(sent_again),
        )
    ).all()
    digests = {(row.sop_instance_uid, row.file_sha256) for row in rows}
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
        arrival.note(AuditEvent.FILES_RETURNED, files=len(returned))


def _restore_file(
    instance: Instance, sent: ReceivedInstance, digests: set[tuple[str, str]], is_here: IsHere
) -> bool:
    """Whether the row has a file again: its own, or the same content in another wrapping.

    In another wrapping only what counts comes back, and not under a digest that another row of the
    image has: then that row is the one whose file was sent. `digests`: of all rows that were asked for.
    """
    if is_here(instance.file_name):
        return True
    if instance.replaced_in_revision is not None:
        return False
    same = {instance.file_sha256, instance.content_sha256} & content_digests(sent)
    of_another = (sent.sop_instance_uid, sent.file_sha256) in digests
    if not same or of_another or not is_here(sent.file_name):
        return False
    instance.file_name, instance.file_sha256 = sent.file_name, sent.file_sha256
    instance.file_bytes, instance.content_sha256 = sent.file_bytes, sent.content_sha256
    return True


def replace_changed_instances(arrival: Arrival) -> None:
    """The content before stays, with its predictions, and no longer counts."""
    for instance in arrival.having(InstanceReceipt.CHANGED):
        arrival.session.execute(
            update(Instance)
            .where(
                Instance.study_id == arrival.study.id,
                Instance.sop_instance_uid == instance.sop_instance_uid,
                Instance.replaced_in_revision.is_(None),
            )
            .values(replaced_in_revision=arrival.study.revision)
        )


def add_instances(arrival: Arrival) -> None:
    for instance in arrival.new_or_changed():
        add_instance(arrival.session, arrival.study, instance, arrival.moment)


def add_instance(
    session: Session, study: Study, instance: ReceivedInstance, moment: datetime
) -> None:
    """One more row; the study's row is locked."""
    study.files_left_at = None
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
            content_sha256=instance.content_sha256,
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
