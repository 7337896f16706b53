"""Compare the registry of model versions with what the audit trail recorded of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger.row_digests import as_text
from db.models import AuditRecord, ModelVersion
from db.values.operations import AuditDifference
from db.vocabulary.enums import AuditEvent

COLUMNS = (
    "architecture", "bundle_digest", "preprocessing_version", "temperature", "bias", "threshold",
    "location",
)  # fmt: skip
EVENTS = (AuditEvent.MODEL_REGISTERED, AuditEvent.MODEL_ACTIVATED, AuditEvent.SHADOW_SELECTED)


@dataclass
class _RecordedRegistry:
    """The registry that follows from the audit records."""

    registered: dict[str, dict[str, Any]] = field(default_factory=dict)
    active: str | None = None
    shadow: str | None = None

    def replay(self, event: str, detail: dict[str, Any]) -> None:
        name = detail["model"]
        if event == AuditEvent.MODEL_REGISTERED:
            self.registered[name] = detail
        elif event == AuditEvent.SHADOW_SELECTED:
            self.shadow = name
        else:
            self.active = name
            self.shadow = None if self.shadow == name else self.shadow
            self.registered.get(name, {})["activated_at"] = detail.get("activated_at")


def model_differences(session: Session) -> Iterator[AuditDifference]:
    """Yield every difference between the registry and its records.

    No such record has a study, so all are in chain 0; few are there, and they are read at once.
    """
    recorded = _RecordedRegistry()
    records = session.execute(
        select(AuditRecord.event, AuditRecord.detail)
        .where(AuditRecord.event.in_(EVENTS), AuditRecord.study_key.is_(None))
        .order_by(AuditRecord.chain, AuditRecord.sequence)
    )
    try:
        for record in records:
            recorded.replay(record.event, json.loads(record.detail))
        rows = session.scalars(select(ModelVersion).order_by(ModelVersion.id)).all()
    except (ValueError, TypeError, LookupError):
        yield Difference(
            study_key=None,
            what="model versions",
            field="rows or records",
            recorded=None,
            found="unreadable",
        )
        return
    missing = dict(recorded.registered)
    for row in rows:
        detail = missing.pop(row.name, None)
        if detail is None:
            yield _difference(row.name, "row", "absent", "present")
            continue
        found = {name: getattr(row, name) for name in COLUMNS}
        found |= {
            "registered_at": as_text(row.registered_at),
            "activated_at": as_text(row.activated_at),
            "is_active": row.is_active,
            "is_shadow": row.is_shadow,
        }
        expected = {"activated_at": None, **detail}
        expected |= {
            "is_active": row.name == recorded.active,
            "is_shadow": row.name == recorded.shadow,
        }
        if expected["activated_at"] is None and expected["is_active"]:
            del expected["activated_at"]  # an earlier version did not record the moment
        for name, value in found.items():
            if name in expected and expected[name] != value:
                yield _difference(row.name, name, expected[name], value)
    for name in missing:
        yield _difference(name, "row", "present", "absent")


def _difference(name: str, field_name: str, recorded: Any, found: Any) -> AuditDifference:
    return AuditDifference(
        study_key=None,
        what=f"model version {name}",
        field=field_name,
        recorded=recorded,
        found=found,
    )
