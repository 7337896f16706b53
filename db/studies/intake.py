"""Accept studies in one transaction; confirm to the sender only after its commit.

Sending anything twice is harmless: a study is identified by its Study Instance UID, an instance by
its SOP Instance UID and its content, and the constraints decide which of any number of processes
comes first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import insert_if_new, lock_one
from db.ledger.audit import AuditEntry, append_entries
from db.ledger.identity import was_erased
from db.models import Instance, Study, StudyIdentity
from db.studies.arrival import Arrival, accepted_entry, entry, note_conflicts
from db.studies.instance_upsert import (
    IsHere,
    add_instances,
    classify_instances,
    known_contents,
    replace_changed_instances,
    restore_files,
)
from db.studies.manifests import count_missing, store_manifest
from db.studies.results import park_study, parked_detail
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
    StudyOrder,
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
    "predict. Ask the sender to send the images; the study continues by itself when they come."
)


def never_here(_file_name: str) -> bool:
    """Answer for callers that hand over rows without files."""
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
    """Accept a whole study, so that it is ready for publication.

    A resend that brings nothing new changes nothing (but a STAT resend raises an unfinished study).
    New images revise a finished study, and also a running one, which is run again when its attempt
    ends; a waiting study only gets more images. A changed image revises a study in every state.
    While a manifest, given now or earlier, names images that are not here, the study waits for them.

    Args:
        session: The running transaction.
        received: The study, or with a manifest the part of it that is here.
        closed_by: The rule that closes the study, unless a manifest does.
        manifest: SOP Instance UIDs of all its instances; None: no manifest came.
        manifest_patience_s: How long a study waits for instances that its manifest names.
        is_here: Whether a file is in the intake folder; if so, a file that the retention rule had
            removed and that was sent again is restored.

    Returns:
        The answer to the sender, true once the transaction is committed.

    Example:
        >>> with database.transaction() as session:
        ...     accept(session, received, closed_by=ClosedBy.SENDER).study_key
        '9f86d081884c7d659a2feaa0c55ad015'
    """
    timeouts = CompletenessTimeouts.of(manifest_s=manifest_patience_s)
    return _apply_arrival(
        session,
        received,
        lambda arrival: apply_whole_study(arrival, closed_by, timeouts),
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
    """Accept one instance of a study that is still coming in; each one extends the wait.

    Arguments and result are those of `accept`; `idle_window_s`: how long the study waits for more.
    """
    timeouts = CompletenessTimeouts.of(idle_window_s=idle_window_s, manifest_s=manifest_patience_s)
    return _apply_arrival(
        session, received, lambda arrival: apply_instance(arrival, timeouts), is_here=is_here
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
    """Store a study's manifest, before, while or after its images come.

    It closes a study that is being received as soon as everything is here; a study that was closed
    before remains closed, and late images revise it.

    Args:
        session: The running transaction.
        study_instance_uid: (0020,000D).
        manifest: SOP Instance UIDs of all its instances.
        priority: Of a study that is new, or raised to STAT.
        source: The way in.
        manifest_patience_s: How long the study waits for instances that its manifest names.

    Returns:
        The answer to the sender, true once the transaction is committed.
    """
    announced = _AnnouncedStudy(
        study_instance_uid=study_instance_uid, priority=priority, source=source
    )
    timeouts = CompletenessTimeouts.of(manifest_s=manifest_patience_s)
    return _apply_arrival(
        session,
        announced,
        lambda arrival: apply_manifest(arrival, timeouts),
        manifest=manifest,
    )


def close_idle_studies(session: Session) -> list[str]:
    """Close every study whose window has ended, and return their keys.

    An announced study without any image is parked with NOTHING_CAME: no images are not a negative.
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
        return entry(study, AuditEvent.STUDY_PARKED, parked_detail(study, failure))
    close_study(study, moment, ClosedBy.IDLE_WINDOW)
    return accepted_entry(session, study)


# --- what all ways in have in common ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _AnnouncedStudy(ReceivedStudy):
    """A study that a manifest announces and of which nothing came with it."""

    instances: tuple[ReceivedInstance, ...] = ()

    def __post_init__(self) -> None:
        """Accept that there is no instance."""


def _apply_arrival(
    session: Session,
    received: ReceivedStudy,
    settle: Callable[[Arrival], None],
    *,
    manifest: Sequence[str] | None = None,
    is_here: IsHere = never_here,
) -> Acceptance:
    moment = now(session)
    study, is_new = _lock_received(session, received, moment)
    known = known_contents(session, study.id)
    outcomes = classify_instances(known, received.instances)
    arrival = Arrival(session=session, moment=moment, study=study, outcomes=outcomes)
    if manifest is not None:
        named = store_manifest(session, study.id, manifest, moment)
        arrival.note(AuditEvent.MANIFEST_RECEIVED, instances=named)
    here = {*known, *(instance.sop_instance_uid for instance in received.instances)}
    arrival.missing = count_missing(session, study.id, here)
    settle(arrival)
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
            for instance, outcome in outcomes
        ),
        state=study.state,
        revision=study.revision,
    )


def _lock_received(
    session: Session, received: ReceivedStudy, moment: datetime
) -> tuple[Study, bool]:
    """Return the study's row, locked until the commit, and whether it is new."""
    study, is_new = lock_study(
        session,
        received,
        moment,
        state=StudyState.RECEIVING,
        site_ae_title=received.site_ae_title,
        patient_sex=received.patient_sex,
        patient_age_years=received.patient_age_years,
    )
    if is_new:
        _store_identity(session, study.id, received, moment)
    elif is_being_fetched(session, study) or _has_no_image(session, study):
        fill_in_patient(session, study, received, moment)
    return study, is_new


def lock_study(
    session: Session, wanted: ReceivedStudy | StudyOrder, moment: datetime, **values: Any
) -> tuple[Study, bool]:
    """Insert the study unless its Study Instance UID is known, and lock its row.

    Args:
        session: The running transaction.
        wanted: The study that came or was ordered.
        moment: When it came.
        **values: Further columns of a new row.

    Returns:
        The row, locked until the commit, and whether it was inserted just now.
    """
    study_id = insert_if_new(
        session,
        Study,
        study_key=secrets.token_hex(16),
        study_instance_uid=wanted.study_instance_uid,
        revision=1,
        priority=wanted.priority,
        lane=Lane(wanted.priority.value),
        source=wanted.source,
        received_at=moment,
        **values,
    )
    by_uid = select(Study).where(Study.study_instance_uid == wanted.study_instance_uid)
    study = lock_one(session, by_uid)
    assert study is not None  # inserted above, now or by another transaction; never deleted
    return study, study_id is not None


def fill_in_patient(
    session: Session, study: Study, received: ReceivedStudy, moment: datetime
) -> None:
    """Fill in what an order or a manifest could not know of the patient, from the first images.

    Later images fill in nothing: what was erased must not return with a resend.
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
    session: Session, study_id: int, received: ReceivedStudy, moment: datetime
) -> None:
    if received.patient_id is None and received.accession_number is None:
        return
    session.add(
        StudyIdentity(
            study_id=study_id,
            patient_id=received.patient_id,
            issuer_of_patient_id=received.issuer_of_patient_id,
            accession_number=received.accession_number,
            recorded_at=moment,
        )
    )
