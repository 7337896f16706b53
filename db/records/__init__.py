"""Values that cross the boundary of this package: frozen, small, without a session behind them.

Their `repr` shows no UID, patient id or accession number, so that they may be logged.
"""

from __future__ import annotations

from db.details import (
    AttemptDetail,
    AuditDetail,
    InstanceDetail,
    Overview,
    PredictionDetail,
    RefusalRecord,
    StudyDetail,
    StudySummary,
)
from db.records.arriving import Acceptance, InstanceAcceptance, ReceivedInstance, ReceivedStudy
from db.records.claiming import Claim, ClaimedInstance, PriorPrediction
from db.records.finding import (
    InstanceOutcome,
    NewPrediction,
    NewShadowPrediction,
    StepSeconds,
    StudyOutcome,
)
from db.records.keeping import (
    AuditReport,
    LiveWorker,
    ModelRecord,
    NewModelVersion,
    ShadowStatus,
    SweptStudy,
)
from db.records.ordering import OpenStudy, Ordered, Origin, Standing, StudyOrder

__all__ = [
    "Acceptance",
    "AttemptDetail",
    "AuditDetail",
    "AuditReport",
    "Claim",
    "ClaimedInstance",
    "InstanceAcceptance",
    "InstanceDetail",
    "InstanceOutcome",
    "LiveWorker",
    "ModelRecord",
    "NewModelVersion",
    "NewPrediction",
    "NewShadowPrediction",
    "OpenStudy",
    "Ordered",
    "Origin",
    "Overview",
    "PredictionDetail",
    "PriorPrediction",
    "ReceivedInstance",
    "ReceivedStudy",
    "RefusalRecord",
    "ShadowStatus",
    "Standing",
    "StepSeconds",
    "StudyDetail",
    "StudyOrder",
    "StudyOutcome",
    "StudySummary",
    "SweptStudy",
]
