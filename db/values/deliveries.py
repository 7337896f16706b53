"""Values of the delivery of results: frozen; no `repr` shows a UID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from db.vocabulary.enums import DeliveryState, Verdict


class Urgency(IntEnum):
    """Which results go first to a destination that has many to take."""

    STAT = 0
    """Of a study that was marked STAT: a person waits for it."""
    ROUTINE = 1
    """Of a study that has just been processed, and requests for storage commitment."""
    PAST_RESULT = 2
    """Enqueued by a person's order for a study of before: nobody waits for it."""


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A delivery that is to be published now."""

    delivery_key: str
    urgency: Urgency


@dataclass(frozen=True, kw_only=True)
class SentObject:
    """One object as a destination gets it."""

    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    sha256: str
    """Of its bytes as a file, 64 hex digits."""


@dataclass(frozen=True, kw_only=True)
class InstanceNames:
    """By what names a PACS knows an image whose file was removed."""

    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    patient_id: str | None = field(default=None, repr=False)
    """Of the study, as its first image had it; None if it had none, or it was erased."""


@dataclass(frozen=True, kw_only=True)
class PredecessorResult:
    """The earlier result that a new one replaces."""

    model_name: str
    """Its model version."""
    revision: int
    """Revision of the study that it was about."""
    finished_at: datetime
    """When it was stored."""
    objects: tuple[SentObject, ...]
    """What was sent of it."""


@dataclass(frozen=True, kw_only=True)
class DeliveryClaim:
    """The right to deliver one result to one destination."""

    delivery_id: int
    delivery_key: str
    token: int
    """Number of the attempt."""
    destination: str
    study_key: str
    revision: int
    """Revision of the study that the result is about."""
    model_name: str
    """Model version that gave it."""
    verdict: Verdict
    finished_at: datetime
    failures: int
    """Passing failures in a row, before this attempt."""
    refusals: int
    """Refusals so far."""
    predecessor: PredecessorResult | None
    """The earlier result that it replaces."""


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """What a destination is asked to confirm that it keeps."""

    delivery_id: int
    destination: str
    transaction_uid: str = field(repr=False)
    objects: tuple[SentObject, ...]
    failures: int
    """How often it could not be asked, in a row."""
    unanswered: int = 0
    """Earlier requests about the same sending that it took and has not reported on yet."""


class CommitmentOutcome(StrEnum):
    """What a destination's report on storage commitment meant."""

    COMMITTED = "committed"
    """It keeps every object."""
    SEND_AGAIN = "send_again"
    """It does not have some of them: all are sent again."""
    PARKED = "parked"
    """The same, too often: it waits for a person."""
    UNKNOWN = "unknown"
    """No delivery waits for such a report."""


@dataclass(frozen=True, kw_only=True)
class DestinationSummary:
    """One destination with the number of its deliveries."""

    name: str
    is_active: bool
    """It is in the file of peers."""
    by_state: Mapping[DeliveryState, int]
    """Deliveries in each state."""
    parked_by_code: Mapping[str, int]
    """Parked deliveries by error code."""
    oldest_waiting_seconds: float | None
    """Age of the oldest result that was not sent yet."""
    failures: int
    """Failures of the destination as a whole, in a row."""
    probe_at: datetime | None
    """When it is tried next, while there are failures."""


@dataclass(frozen=True, kw_only=True)
class ParkedDelivery:
    """A delivery that waits for a person."""

    delivery_key: str
    study_key: str
    destination: str
    attempts: int
    error_code: str
    error_sentence: str
    traceback_reference: str | None
