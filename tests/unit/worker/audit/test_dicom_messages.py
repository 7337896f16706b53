"""Audit messages are valid by the standard's schema, and each event is what DICOM calls it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from lxml import etree
from pydicom.sr.codedict import codes

from db.engine.canonical import canonical_json
from db.vocabulary.enums import AuditEvent
from tests.builders.audit_schema import audit_schema
from worker.audit import event_codes
from worker.audit.dicom_messages import audit_message
from worker.audit.event_codes import DICOM_EVENTS, Code

SCHEMA = audit_schema()
KEY = "0123456789abcdef" * 2


def make_record(event="study_finished", *, study_key=KEY, actor="w-1", **detail):
    return SimpleNamespace(
        chain=3,
        sequence=7,
        event=str(event),
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
        study_key=study_key,
        actor=actor,
        detail=canonical_json(detail),
        hash="a" * 64,
    )


def message_of(record):
    return etree.fromstring(audit_message(record, "PNEUMO"))


DETAILS = [
    {},
    {"model": "resnet50-1.0.0", "verdict": "positive", "probability": 0.5, "destinations": []},
    {"destination": "archive", "objects": ["a" * 64], "code": None},
    {"peer": "archive <&> \"'", "instances": 3, "text": "é\u2028\n"},
]


@pytest.mark.parametrize("event", [*AuditEvent, "of_a_newer_version"])
@pytest.mark.parametrize("study_key", [KEY, None])
@pytest.mark.parametrize("actor", ["w-1", "operator:jane"])
@pytest.mark.parametrize("detail", DETAILS)
def test_every_message_is_valid_by_ps3_15_a_5_1(event, study_key, actor, detail):
    message = message_of(make_record(event, study_key=study_key, actor=actor, **detail))
    assert SCHEMA.validate(message), SCHEMA.error_log


def test_the_schema_finds_what_is_wrong():
    message = message_of(make_record())
    message.find("EventIdentification").set("EventActionCode", "X")
    assert not SCHEMA.validate(message)


def test_every_event_has_its_place_in_the_vocabulary():
    assert set(DICOM_EVENTS) == set(AuditEvent)


@pytest.mark.parametrize(
    "code",
    [c for c in vars(event_codes).values() if isinstance(c, Code) and c.system == "DCM"],
    ids=lambda code: code.value,
)
def test_codes_are_those_of_ps3_16(code):
    known = {
        concept.value: concept.meaning for concept in map(codes.DCM.__getattr__, codes.DCM.dir())
    }
    assert known[code.value] == code.meaning


def test_a_sent_result_is_a_transfer_from_us_to_the_destination():
    """PS3.15 A.5.3.7: a source and a destination, each with its role."""
    message = message_of(make_record("result_sent", actor="delivery", destination="archive"))
    assert message.find("EventIdentification/EventID").get("csd-code") == "110104"
    roles = {
        participant.find("RoleIDCode").get("csd-code"): participant.get("UserID")
        for participant in message.iter("ActiveParticipant")
    }
    assert roles == {"110153": "PNEUMO", "110152": "archive"}


def test_a_registered_model_is_a_security_alert_about_the_configuration():
    """PS3.15 A.5.3.11: its type is Software Configuration."""
    message = message_of(
        make_record("model_activated", study_key=None, actor="operator:jane", model="m-1")
    )
    assert message.find("EventIdentification/EventID").get("csd-code") == "110113"
    assert message.find("EventIdentification/EventTypeCode").get("csd-code") == "110131"
    assert message.find("ActiveParticipant").get("UserID") == "operator:jane"
    assert message.find("ParticipantObjectIdentification").get("ParticipantObjectID") == "m-1"


def test_a_failure_is_one_in_the_message():
    outcomes = {
        event: message_of(make_record(event))
        .find("EventIdentification")
        .get("EventOutcomeIndicator")
        for event in ("study_finished", "instance_refused", "study_parked", "result_parked")
    }
    assert outcomes == {
        "study_finished": "0",
        "instance_refused": "4",
        "study_parked": "8",
        "result_parked": "8",
    }


def test_a_message_leads_back_to_its_record():
    details = {
        item.get("type"): base64.b64decode(item.get("value")).decode()
        for item in message_of(make_record(code="X")).iter("ParticipantObjectDetail")
    }
    assert details == {"audit_record": "3/7", "audit_hash": "a" * 64, "code": "X"}
