"""What each of our audit events is in DICOM's audit vocabulary: one table.

Event identifiers are the codes of PS3.16 CID 400, the form of each message is that of PS3.15 A.5.3. What
DICOM has no event for is a Procedure Record: it is about the work on a study.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from db.vocabulary.enums import AuditEvent


@dataclass(frozen=True, kw_only=True)
class Code:
    """A coded value as the audit schema has it (PS3.15 A.5.1)."""

    value: str
    meaning: str
    system: str = "DCM"


class Action(StrEnum):
    """EventActionCode (PS3.15 A.5.1)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(StrEnum):
    """EventOutcomeIndicator (PS3.15 A.5.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


class LifeCycle(StrEnum):
    """ParticipantObjectDataLifeCycle (PS3.15 A.5.1.2.3)."""

    CREATION = "1"
    IMPORT = "2"
    AMENDMENT = "3"
    VERIFICATION = "4"
    USE = "6"
    DERIVATION = "8"
    REPORT = "9"
    EXPORT = "10"
    LOGICAL_DELETION = "14"
    ERASURE = "15"


APPLICATION_ACTIVITY = Code(value="110100", meaning="Application Activity")
INSTANCES_ACCESSED = Code(value="110103", meaning="DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code(value="110104", meaning="DICOM Instances Transferred")
STUDY_DELETED = Code(value="110105", meaning="DICOM Study Deleted")
ORDER_RECORD = Code(value="110109", meaning="Order Record")
PATIENT_RECORD = Code(value="110110", meaning="Patient Record")
PROCEDURE_RECORD = Code(value="110111", meaning="Procedure Record")
SECURITY_ALERT = Code(value="110113", meaning="Security Alert")
SOFTWARE_CONFIGURATION = Code(value="110131", meaning="Software Configuration")

APPLICATION = Code(value="110150", meaning="Application")
SOURCE_ROLE = Code(value="110153", meaning="Source Role ID")
DESTINATION_ROLE = Code(value="110152", meaning="Destination Role ID")
STUDY_KEY = Code(value="study_key", meaning="Study key", system="99PNEUMO")
MODEL_VERSION = Code(value="model_version", meaning="Model version", system="99PNEUMO")


@dataclass(frozen=True, kw_only=True)
class DicomEvent:
    """One of our events as DICOM names it."""

    event_id: Code
    action: Action
    outcome: Outcome = Outcome.SUCCESS
    life_cycle: LifeCycle
    type_code: Code | None = None
    """Which kind of the event, where DICOM has one; ours follows it in every message."""


def _work(
    action: Action = Action.UPDATE,
    life_cycle: LifeCycle = LifeCycle.AMENDMENT,
    outcome: Outcome = Outcome.SUCCESS,
) -> DicomEvent:
    return DicomEvent(
        event_id=PROCEDURE_RECORD, action=action, outcome=outcome, life_cycle=life_cycle
    )


def _transfer(
    action: Action, life_cycle: LifeCycle, outcome: Outcome = Outcome.SUCCESS
) -> DicomEvent:
    return DicomEvent(
        event_id=INSTANCES_TRANSFERRED, action=action, outcome=outcome, life_cycle=life_cycle
    )


def _access(outcome: Outcome = Outcome.SUCCESS) -> DicomEvent:
    return DicomEvent(
        event_id=INSTANCES_ACCESSED,
        action=Action.READ,
        outcome=outcome,
        life_cycle=LifeCycle.DERIVATION,
    )


_CONFIGURATION = DicomEvent(
    event_id=SECURITY_ALERT,
    action=Action.EXECUTE,
    life_cycle=LifeCycle.AMENDMENT,
    type_code=SOFTWARE_CONFIGURATION,
)

DICOM_EVENTS: dict[str, DicomEvent] = {
    AuditEvent.STUDY_ACCEPTED: _transfer(Action.CREATE, LifeCycle.IMPORT),
    AuditEvent.STUDY_ORDERED: DicomEvent(
        event_id=ORDER_RECORD, action=Action.CREATE, life_cycle=LifeCycle.CREATION
    ),
    AuditEvent.STUDY_FETCHED: _transfer(Action.CREATE, LifeCycle.IMPORT),
    AuditEvent.STUDY_RECEIVED_AGAIN: _transfer(Action.READ, LifeCycle.IMPORT),
    AuditEvent.STUDY_REVISED: _transfer(Action.UPDATE, LifeCycle.IMPORT),
    AuditEvent.STUDY_RAISED_TO_STAT: _work(),
    AuditEvent.CHANGED_INSTANCE_RECEIVED: _transfer(Action.UPDATE, LifeCycle.AMENDMENT),
    AuditEvent.CONFLICTING_INSTANCE_RECEIVED: _transfer(
        Action.UPDATE, LifeCycle.IMPORT, Outcome.MINOR_FAILURE
    ),
    AuditEvent.MANIFEST_RECEIVED: _work(),
    AuditEvent.ATTEMPT_CRASHED: _work(Action.UPDATE, LifeCycle.DERIVATION, Outcome.SERIOUS_FAILURE),
    AuditEvent.PREDICTION_RECORDED: _access(),
    AuditEvent.PREDICTION_VERIFIED: _access(),
    AuditEvent.INSTANCE_REFUSED: _access(Outcome.MINOR_FAILURE),
    AuditEvent.STUDY_FINISHED: _work(Action.UPDATE, LifeCycle.REPORT),
    AuditEvent.STUDY_PARKED: _work(Action.UPDATE, LifeCycle.REPORT, Outcome.SERIOUS_FAILURE),
    AuditEvent.STUDY_RETRIED: _work(),
    AuditEvent.STUDY_EXPORTED: _transfer(Action.READ, LifeCycle.EXPORT),
    AuditEvent.MODEL_REGISTERED: _CONFIGURATION,
    AuditEvent.MODEL_ACTIVATED: _CONFIGURATION,
    AuditEvent.SHADOW_SELECTED: _CONFIGURATION,
    AuditEvent.FILES_REMOVED: DicomEvent(
        event_id=STUDY_DELETED, action=Action.DELETE, life_cycle=LifeCycle.LOGICAL_DELETION
    ),
    AuditEvent.FILES_RETURNED: _transfer(Action.CREATE, LifeCycle.IMPORT),
    AuditEvent.RESULT_DIFFERS: _work(Action.UPDATE, LifeCycle.EXPORT, Outcome.MINOR_FAILURE),
    AuditEvent.RESULT_OWED: _work(Action.UPDATE, LifeCycle.EXPORT),
    AuditEvent.RESULT_RETRIED: _work(Action.UPDATE, LifeCycle.EXPORT),
    AuditEvent.RESULT_SENT: _transfer(Action.READ, LifeCycle.EXPORT),
    AuditEvent.RESULT_COMMITTED: _transfer(Action.READ, LifeCycle.VERIFICATION),
    AuditEvent.RESULT_PARKED: _transfer(Action.READ, LifeCycle.EXPORT, Outcome.SERIOUS_FAILURE),
    AuditEvent.RESULT_FORGONE: _work(Action.UPDATE, LifeCycle.EXPORT),
    AuditEvent.IDENTITY_ERASED: DicomEvent(
        event_id=PATIENT_RECORD, action=Action.DELETE, life_cycle=LifeCycle.ERASURE
    ),
}
