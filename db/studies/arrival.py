"""One arrival at a study: its state while the transaction runs, and its audit entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger.audit import AuditEntry
from db.models import Instance, Study
from db.studies.manifests import count_missing
from db.values import ReceivedInstance
from db.vocabulary.enums import AuditEvent, InstanceReceipt


@dataclass(kw_only=True)
class Arrival:
    """The state of one arrival while its transaction runs; the study's row is locked."""

    session: Session
    moment: datetime
    study: Study
    outcomes: Sequence[tuple[ReceivedInstance, InstanceReceipt]]
    notes: list[tuple[AuditEvent, Mapping[str, Any]]] = field(default_factory=list)
    missing: int | None = None
    """How many instances the manifest names that are not here; None without a manifest."""
    accepts: bool = False
    """Whether this arrival closes the study; its audit entry counts all instances at the end."""

    def with_receipt(self, *receipts: InstanceReceipt) -> list[ReceivedInstance]:
        """Return the instances that were given one of these receipts."""
        return [instance for instance, receipt in self.outcomes if receipt in receipts]

    def new_or_changed(self) -> list[ReceivedInstance]:
        """Return the instances that become rows: new and changed ones."""
        return self.with_receipt(InstanceReceipt.NEW, InstanceReceipt.CHANGED)

    def note(self, event: AuditEvent, **detail: Any) -> None:
        """Collect an audit entry, which is appended at the end of the transaction."""
        self.notes.append((event, detail))

    def entries(self) -> list[AuditEntry]:
        """Return all audit entries in order."""
        accepted = [accepted_entry(self.session, self.study)] if self.accepts else []
        return accepted + [entry(self.study, event, detail) for event, detail in self.notes]


def note_conflicts(arrival: Arrival) -> None:
    """Collect audit entries with both digests of conflicting contents; the first content counts."""
    first: dict[str, str] = {}
    for instance, receipt in arrival.outcomes:
        kept = first.setdefault(instance.sop_instance_uid, instance.file_sha256)
        if receipt is InstanceReceipt.CONFLICTING:
            arrival.note(
                AuditEvent.CONFLICTING_INSTANCE_RECEIVED,
                kept_file_sha256=kept,
                received_file_sha256=instance.file_sha256,
            )


def current_images(session: Session, study_id: int) -> set[str]:
    """Return the SOP Instance UIDs of the study's images that are here and count."""
    return set(
        session.scalars(
            select(Instance.sop_instance_uid).where(
                Instance.study_id == study_id, Instance.replaced_in_revision.is_(None)
            )
        )
    )


def accepted_entry(session: Session, study: Study) -> AuditEntry:
    """Return the audit entry of a study that was closed and accepted for prediction."""
    session.flush()
    here = current_images(session, study.id)
    detail: dict[str, Any] = {
        "revision": study.revision,
        "instances": len(here),
        "priority": study.priority.value,
        "source": study.source.value,
        "closed_by": study.closed_by.value if study.closed_by else None,
    }
    if (absent := count_missing(session, study.id, here)) is not None:
        detail["missing"] = absent
    return entry(study, AuditEvent.STUDY_ACCEPTED, detail)


def entry(study: Study, event: AuditEvent, detail: Mapping[str, Any]) -> AuditEntry:
    """Return an audit entry whose actor is the study's way in."""
    actor = f"intake:{study.source.value}"
    return AuditEntry(event=event, study_key=study.study_key, actor=actor, detail=detail)
