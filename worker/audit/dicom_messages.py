"""DICOM audit messages (PS3.15 A.5.1) of our audit records, as IHE ATNA collectors take them.

The trail holds no UID, name or patient id, and neither does a message: the study is identified by its
opaque key, under a coding scheme of ours. The record's own position and hash travel as details, so that
a message can be found in the trail.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from worker.audit.event_codes import (
    APPLICATION,
    APPLICATION_ACTIVITY,
    DESTINATION_ROLE,
    DICOM_EVENTS,
    INSTANCES_TRANSFERRED,
    MODEL_VERSION,
    SOURCE_ROLE,
    STUDY_KEY,
    Action,
    Code,
    DicomEvent,
    LifeCycle,
    Outcome,
)

SYSTEM_OBJECT = "2"
REPORT_ROLE, RESOURCE_ROLE = "3", "13"
"""ParticipantObjectTypeCodeRole: a report; a security resource (PS3.15 A.5.1.2.2)."""
APPLICATION_SERVER = "4"
"""AuditSourceTypeCode."""
OUR_SYSTEM = "99PNEUMO"
UNKNOWN = DicomEvent(
    event_id=APPLICATION_ACTIVITY,
    action=Action.EXECUTE,
    outcome=Outcome.SUCCESS,
    life_cycle=LifeCycle.USE,
)
"""For an event that a newer version recorded."""


def audit_message(record: Any, source: str) -> str:
    """Return the message of one record, without an XML declaration: the receiver knows the encoding.

    Args:
        record: A row of `db.ledger.audit_reader`.
        source: What identifies this installation at the collector: its AE title.
    """
    event = DICOM_EVENTS.get(record.event, UNKNOWN)
    detail = json.loads(record.detail)
    message = Element("AuditMessage")
    _identify_event(message, record, event)
    _add_participants(message, record, event, detail, source)
    origin = SubElement(message, "AuditSourceIdentification", AuditSourceID=source)
    SubElement(origin, "AuditSourceTypeCode", {"csd-code": APPLICATION_SERVER})
    _add_object(message, record, event, detail)
    return tostring(message, encoding="unicode")


def _identify_event(message: Element, record: Any, event: DicomEvent) -> None:
    moment = record.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    identified = SubElement(
        message,
        "EventIdentification",
        EventActionCode=event.action.value,
        EventDateTime=moment,
        EventOutcomeIndicator=event.outcome.value,
    )
    _add_code(identified, "EventID", event.event_id)
    if event.type_code is not None:
        _add_code(identified, "EventTypeCode", event.type_code)
    ours = Code(value=record.event, meaning=record.event.replace("_", " "), system=OUR_SYSTEM)
    _add_code(identified, "EventTypeCode", ours)


def _add_participants(
    message: Element, record: Any, event: DicomEvent, detail: Mapping[str, Any], source: str
) -> None:
    """Add who did it; for a transfer sender and receiver, as PS3.15 A.5.3.7 demands."""
    if event.event_id is not INSTANCES_TRANSFERRED:
        by_person = record.actor.startswith("operator:")
        _add_participant(
            message, record.actor, requestor=True, role=None if by_person else APPLICATION
        )
        if by_person:
            _add_participant(message, source, requestor=False, role=APPLICATION)
        return
    destination = detail.get("destination")
    sender = source if destination else str(detail.get("peer") or record.actor)
    receiver = str(destination or source)
    _add_participant(message, sender, requestor=not detail.get("peer"), role=SOURCE_ROLE)
    _add_participant(message, receiver, requestor=bool(detail.get("peer")), role=DESTINATION_ROLE)


def _add_participant(message: Element, user_id: str, *, requestor: bool, role: Code | None) -> None:
    participant = SubElement(
        message, "ActiveParticipant", UserID=user_id, UserIsRequestor=str(requestor).lower()
    )
    if role is not None:
        _add_code(participant, "RoleIDCode", role)


def _add_object(
    message: Element, record: Any, event: DicomEvent, detail: Mapping[str, Any]
) -> None:
    name, role, kind = _object_of(record, detail)
    item = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=name,
        ParticipantObjectTypeCode=SYSTEM_OBJECT,
        ParticipantObjectTypeCodeRole=role,
        ParticipantObjectDataLifeCycle=event.life_cycle.value,
    )
    _add_code(item, "ParticipantObjectIDTypeCode", kind)
    SubElement(item, "ParticipantObjectName").text = name
    for key, value in _details(record, detail):
        encoded = base64.b64encode(value.encode()).decode("ascii")
        SubElement(item, "ParticipantObjectDetail", type=key, value=encoded)


def _object_of(record: Any, detail: Mapping[str, Any]) -> tuple[str, str, Code]:
    if record.study_key is not None:
        return record.study_key, REPORT_ROLE, STUDY_KEY
    return str(detail.get("model") or "none"), RESOURCE_ROLE, MODEL_VERSION


def _details(record: Any, detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "audit_record", f"{record.chain}/{record.sequence}"
    yield "audit_hash", record.hash
    for key, value in sorted(detail.items()):
        yield key, value if isinstance(value, str) else json.dumps(value)


def _add_code(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {
            "csd-code": code.value,
            "codeSystemName": code.system,
            "originalText": code.meaning,
        },
    )
