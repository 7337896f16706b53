"""Personal identifiers: stored in one table, and erased there."""

from __future__ import annotations

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from db.ledger.audit import append_entry
from db.models import AuditRecord, Study, StudyIdentity
from db.vocabulary.enums import AuditEvent


def was_erased(session: Session, study_key: str) -> bool:
    """Whether the identity of a study was erased, so that no further result of it is enqueued."""
    erasure = select(AuditRecord.id).where(
        AuditRecord.study_key == study_key, AuditRecord.event == AuditEvent.IDENTITY_ERASED
    )
    return session.scalars(erasure.limit(1)).first() is not None


def studies_of_patient(
    session: Session, patient_id: str, *, issuer: str | None = None
) -> list[str]:
    """Return the keys of a patient's studies whose identity is stored, in order of arrival.

    Args:
        session: A reading session.
        patient_id: (0010,0020) as stored, without leading or trailing spaces.
        issuer: (0010,0021); None: of any issuer. Studies that name no issuer are always returned.
    """
    query = (
        select(Study.study_key)
        .join(StudyIdentity, StudyIdentity.study_id == Study.id)
        .where(StudyIdentity.patient_id == patient_id)
    )
    if issuer is not None:
        stated = StudyIdentity.issuer_of_patient_id
        query = query.where(or_(stated == issuer, stated.is_(None)))
    return list(session.scalars(query.order_by(Study.id)))


def erase_identity(session: Session, study_key: str, actor: str) -> bool:
    """Erase patient id and accession number of a study.

    Predictions and audit trail stay as they are: they never held them. The erasure is audited even
    if neither was stored: the images may name the person, and because of the audit record no
    further result is enqueued. A resend of the study does not restore them.

    Args:
        session: The running transaction.
        study_key: The study's opaque key.
        actor: The person's account, for the audit trail.

    Returns:
        False if the identity was erased before, or if there is no such study.
    """
    study_id = session.scalar(select(Study.id).where(Study.study_key == study_key))
    if study_id is None:
        return False
    erased = session.execute(
        delete(StudyIdentity)
        .where(StudyIdentity.study_id == study_id)
        .returning(StudyIdentity.study_id),
        execution_options={"synchronize_session": False},
    ).all()
    if not erased and was_erased(session, study_key):
        return False
    append_entry(session, AuditEvent.IDENTITY_ERASED, study_key, {}, actor)
    return True
