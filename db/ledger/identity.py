"""Personal identifiers: kept in one table, and erased there."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.ledger.audit import append_entry
from db.models import AuditRecord, Study, StudyIdentity
from db.vocabulary.enums import AuditEvent


def was_erased(session: Session, study_key: str) -> bool:
    """Whether somebody erased the identity of a study: then no further result of it is owed."""
    asked = select(AuditRecord.id).where(
        AuditRecord.study_key == study_key, AuditRecord.event == AuditEvent.IDENTITY_ERASED
    )
    return session.scalars(asked.limit(1)).first() is not None


def erase_identity(session: Session, study_key: str, actor: str) -> bool:
    """Erase patient id and accession number; False if that was done before, or there is no such study.

    Predictions, audit trail and its chain stay as they are: they never held them. That it was done
    is audited, also where neither was kept: the images may name the person, and by the audit record
    no further result is owed. A resend of the study does not bring them back.
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
