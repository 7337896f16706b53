"""The tables. For what each column means to an analyst see db/views and docs/analysts.md.

Personal identifiers are in `study_identity` alone, so that they can be erased without touching a
result or the audit trail. UIDs never leave this database: messages carry the random `study_key`.
"""

from __future__ import annotations

from db.models.base import Base
from db.models.deliveries import CommitmentAsked, ResultDelivery, ResultDestination, ResultObject
from db.models.ledger import (
    AuditChainHead,
    AuditForwarded,
    AuditRecord,
    SiteCondition,
    WorkerHeartbeat,
)
from db.models.predictions import InferenceRun, ModelVersion, Prediction, ShadowPrediction
from db.models.studies import Instance, Study, StudyIdentity, StudyManifest, StudyOrigin

__all__ = [
    "AuditChainHead",
    "AuditForwarded",
    "AuditRecord",
    "Base",
    "CommitmentAsked",
    "InferenceRun",
    "Instance",
    "ModelVersion",
    "Prediction",
    "ResultDelivery",
    "ResultDestination",
    "ResultObject",
    "ShadowPrediction",
    "SiteCondition",
    "Study",
    "StudyIdentity",
    "StudyManifest",
    "StudyOrigin",
    "WorkerHeartbeat",
]
