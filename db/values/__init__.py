"""Values that cross the boundary of this package: frozen, small and detached from any session.

Their `repr` shows no UID, patient id or accession number, so that they can be logged.
"""

from __future__ import annotations

from db.values.acceptance import Acceptance, InstanceAcceptance, ReceivedInstance, ReceivedStudy
from db.values.claims import Claim, ClaimedInstance, PriorPrediction, SweptClaim
from db.values.failures import Backoff, Failure
from db.values.operations import (
    AuditDifference,
    AuditReport,
    ChainHead,
    LiveWorker,
    ModelRecord,
    NewModelVersion,
    ShadowStatus,
)
from db.values.orders import (
    ArchivedStudyStatus,
    OpenStudy,
    OrderConfirmation,
    PlacedOrder,
    StudyOrder,
)
from db.values.outcomes import (
    InstanceOutcome,
    NewPrediction,
    NewShadowPrediction,
    StepSeconds,
    StudyOutcome,
)
from db.values.study_details import (
    AttemptDetail,
    AuditDetail,
    InstanceDetail,
    Overview,
    PredictionDetail,
    RecordedPrediction,
    RefusalRecord,
    StudyDetail,
    StudySummary,
)

__all__ = [
    "Acceptance",
    "ArchivedStudyStatus",
    "AttemptDetail",
    "AuditDetail",
    "AuditDifference",
    "AuditReport",
    "Backoff",
    "ChainHead",
    "Claim",
    "ClaimedInstance",
    "Failure",
    "InstanceAcceptance",
    "InstanceDetail",
    "InstanceOutcome",
    "LiveWorker",
    "ModelRecord",
    "NewModelVersion",
    "NewPrediction",
    "NewShadowPrediction",
    "OpenStudy",
    "OrderConfirmation",
    "Overview",
    "PlacedOrder",
    "PredictionDetail",
    "PriorPrediction",
    "ReceivedInstance",
    "ReceivedStudy",
    "RecordedPrediction",
    "RefusalRecord",
    "ShadowStatus",
    "StepSeconds",
    "StudyDetail",
    "StudyOrder",
    "StudyOutcome",
    "StudySummary",
    "SweptClaim",
]
