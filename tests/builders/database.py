"""The smallest studies, claims and outcomes that work; each test names only what it is about."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import text

from db.engine.clock import now
from db.ledger.model_registry import activate_model, register_model
from db.models import InferenceRun, Instance, Study
from db.studies.claims import claim
from db.studies.intake import accept
from db.studies.publication import sweep_expired_leases
from db.studies.results import park, schedule_retry, store_result
from db.studies.shadow import store_shadow_predictions
from db.values import (
    Claim,
    Failure,
    InstanceOutcome,
    NewModelVersion,
    NewPrediction,
    NewShadowPrediction,
    ReceivedInstance,
    ReceivedStudy,
    RefusalRecord,
    StepSeconds,
    StudyOutcome,
)
from db.vocabulary.enums import FailureKind, Lane, Priority, RunOutcome, Verdict

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
THRESHOLD = 0.4


def make_failure(kind=FailureKind.BUG, code="X", sentence="Look it up.", **values):
    return Failure(kind=FailureKind(kind), code=code, sentence=sentence, **values)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_instance(number=1, *, uid=STUDY_UID, content="first", **values):
    """Instance `number` of the study `uid`; other `content`, other digest."""
    defaults = {
        "sop_instance_uid": f"{uid}.1.{number}",
        "series_instance_uid": f"{uid}.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "transfer_syntax_name": "Explicit VR Little Endian",
        "file_sha256": digest(f"{uid} {number} {content}"),
        "file_name": f"ab/{digest(f'{uid} {number}')[:16]}.dcm",
        "file_bytes": 1000 + number,
        "modality": "DX",
        "body_part": "CHEST",
        "view_position": "PA",
        "manufacturer": "ACME",
        "rows": 2048,
        "columns": 2500,
    }
    return ReceivedInstance(**(defaults | values))


def make_study(*numbers, uid=STUDY_UID, instances=None, **values):
    """A study with instances of these numbers (1 if none is given)."""
    made = instances or [make_instance(number, uid=uid) for number in numbers or (1,)]
    defaults = {"patient_id": "PAT-77-SECRET", "accession_number": "ACC-88-SECRET"}
    return ReceivedStudy(study_instance_uid=uid, instances=tuple(made), **(defaults | values))


def uid_of(number):
    return f"{STUDY_UID}.{number}"


def make_model(name="resnet50-1.0.0", **values):
    defaults = {
        "name": name,
        "architecture": "resnet50",
        "bundle_digest": digest(name),
        "preprocessing_version": "1",
        "temperature": 1.5,
        "bias": -0.25,
        "threshold": THRESHOLD,
        "location": name,
    }
    return NewModelVersion(**(defaults | values))


def ensure_model(database, name="resnet50-1.0.0"):
    """The registered and active model version of this name."""
    with database.transaction() as session:
        register_model(session, make_model(name), actor="test")
        return activate_model(session, name, "test")


def accept_one(database, *numbers, **values):
    with database.transaction() as session:
        return accept(session, make_study(*numbers, **values))


def accept_many(database, count):
    return [accept_one(database, uid=uid_of(number)).study_key for number in range(count)]


def claim_one(database, study_key, *, lease_s=60.0, worker_name="w-1", **values):
    with database.transaction() as session:
        return claim(session, study_key, worker_name=worker_name, lease_s=lease_s, **values)


def make_prediction(model, probability=0.9, frame_number=1, **values):
    defaults = {
        "model_version_id": model.id,
        "preprocessing_version": "1",
        "frame_number": frame_number,
        "logit": 2.5,
        "probability": probability,
        "threshold": THRESHOLD,
        "verdict": Verdict.POSITIVE if probability >= THRESHOLD else Verdict.NEGATIVE,
        "device": "cpu",
        "normalisation": {"voi": "window", "inverted": True},
        "warnings": ("AGE_OUTSIDE_POPULATION",),
    }
    return NewPrediction(**(defaults | values))


def make_shadow_prediction(model, instance_id, probability=0.9, frame_number=1, **values):
    defaults = {
        "instance_id": instance_id,
        "model_version_id": model.id,
        "preprocessing_version": "1",
        "frame_number": frame_number,
        "logit": 2.5,
        "probability": probability,
        "threshold": THRESHOLD,
        "verdict": Verdict.POSITIVE if probability >= THRESHOLD else Verdict.NEGATIVE,
        "distance": 1.1,
        "device": "cpu",
    }
    return NewShadowPrediction(**(defaults | values))


def make_refusal(code="NOT_A_CHEST", **values):
    defaults = {
        "code": code,
        "tag": "(0018,0015) Body Part Examined",
        "found": "TIBIA",
        "expected": "CHEST or absent",
        "sentence": "Body Part Examined (0018,0015) is TIBIA; expected CHEST or absent.",
        "step": "eligibility",
    }
    return RefusalRecord(**(defaults | values))


def positive_outcome(claimed, model, probability=0.9):
    """Every claimed instance is predicted with this probability."""
    verdict = Verdict.POSITIVE if probability >= THRESHOLD else Verdict.NEGATIVE
    return StudyOutcome(
        verdict=verdict,
        probability=probability,
        threshold=THRESHOLD,
        model_version_id=model.id,
        device="cpu",
        instances=tuple(
            InstanceOutcome(
                instance_id=instance.id, predictions=(make_prediction(model, probability),)
            )
            for instance in claimed.instances
        ),
        seconds=StepSeconds(read=0.1, normalise=0.2, inference=0.3),
    )


def rejected_outcome(claimed, code="NOT_A_CHEST"):
    """Every claimed instance is refused."""
    return StudyOutcome(
        verdict=Verdict.REJECTED,
        probability=None,
        threshold=None,
        model_version_id=None,
        instances=tuple(
            InstanceOutcome(instance_id=instance.id, refusal=make_refusal(code))
            for instance in claimed.instances
        ),
    )


def store(database, claimed, outcome):
    with database.transaction() as session:
        store_result(session, claimed, outcome)


def finish_one(database, *numbers, probability=0.9, **values):
    """A study that went the whole way; returns its key."""
    model = ensure_model(database)
    accepted = accept_one(database, *numbers, **values)
    claimed = claim_one(database, accepted.study_key)
    store(database, claimed, positive_outcome(claimed, model, probability))
    return accepted.study_key


def predict_by_shadow(database, study_key, probability):
    """Let a shadow have predicted the first image of a finished study."""
    with database.transaction() as session:
        shadow = register_model(session, make_model("vgg16-1.0.0"))
        run = session.query(InferenceRun).join(Study).filter(Study.study_key == study_key).one()
        first = session.query(Instance).filter_by(study_id=run.study_id).order_by(Instance.id)
        claimed = Claim(
            study_id=run.study_id,
            study_key=study_key,
            token=run.attempt,
            revision=1,
            retries=0,
            priority=Priority.ROUTINE,
            lane=Lane.ROUTINE,
            worker_name=run.worker_name,
            instances=(),
        )
        prediction = make_shadow_prediction(shadow, first.first().id, probability)
        store_shadow_predictions(session, claimed, [prediction])


def read_study(database, study_key):
    """The study's row as it stands."""
    with database.transaction() as session:
        study = session.query(Study).filter_by(study_key=study_key).one()
        session.expunge(study)
        return study


def runs_of(database, study_key):
    """Outcomes of the study's attempts, in order."""
    with database.transaction() as session:
        rows = (
            session.query(InferenceRun)
            .join(Study, Study.id == InferenceRun.study_id)
            .filter(Study.study_key == study_key)
            .order_by(InferenceRun.attempt)
        )
        return [RunOutcome(row.outcome) for row in rows]


def events_of(database, study_key):
    """The study's audit events, in order."""
    return [
        row[0]
        for row in rows(
            database,
            "SELECT event FROM audit_record WHERE study_key = :key ORDER BY sequence",
            key=study_key,
        )
    ]


def rows(database, sql, **values):
    """What the database answers to plain SQL."""
    with database.transaction() as session:
        result = session.execute(text(sql), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def one(database, sql, **values):
    ((value,),) = rows(database, sql, **values)
    return value


def backdate(database, study_key, column, seconds):
    """Let a moment of the study's row lie `seconds` in the past."""
    with database.transaction() as session:
        study = session.query(Study).filter_by(study_key=study_key).one()
        setattr(study, column, now(session) - timedelta(seconds=seconds))


def expire_lease(database, study_key):
    with database.transaction() as session:
        run = (
            session.query(InferenceRun)
            .join(Study, Study.id == InferenceRun.study_id)
            .filter(Study.study_key == study_key, InferenceRun.attempt == Study.attempts)
            .one()
        )
        run.lease_until = now(session) - timedelta(seconds=1)


@contextmanager
def without_triggers(database):
    """A connection on which the audit table can be tampered with, as a database owner could."""
    with database.engine.connect() as connection, connection.begin():
        if connection.dialect.name == "sqlite":
            triggers = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            ).all()
            for name, _ in triggers:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            yield connection
            for _, sql in triggers:
                connection.exec_driver_sql(sql)
        else:
            for table in ("audit_record", "audit_chain_head"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            yield connection
            for table in ("audit_record", "audit_chain_head"):
                connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def sweep_leases(database):
    with database.transaction() as session:
        return [(claim.key, claim.action) for claim in sweep_expired_leases(session)]


def crash_worker(database, key):
    """A worker claims the study and dies; returns what the sweeper did."""
    assert claim_one(database, key)
    expire_lease(database, key)
    ((swept, action),) = sweep_leases(database)
    assert swept == key
    return action


def postpone_study(database, claimed, delay_s):
    with database.transaction() as session:
        passing = make_failure("transient", "DISK_AWAY", "The disk did not answer.")
        schedule_retry(session, claimed, passing, delay_s=delay_s)


def park_study(database, claimed):
    with database.transaction() as session:
        park(session, claimed, make_failure(code="BUG", traceback_reference="t-1"))
