"""Values of the delivery of results: frozen, and without UIDs in their `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from db.vocabulary.enums import DeliveryState, Verdict


class Urgency(IntEnum):
    """Which results go first to a destination for which many are pending."""

    STAT = 0
    """The study was marked STAT: somebody waits for it."""
    ROUTINE = 1
    """A study that was just read, or a request for storage commitment."""
    PAST_RESULT = 2
    """Enqueued by a person for a study that was read before: nobody waits for it."""


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A delivery that is due for publication now."""

    delivery_key: str
    urgency: Urgency


@dataclass(frozen=True, kw_only=True)
class SentObject:
    """One object as a destination receives it."""

    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    sha256: str
    """Of its bytes as a file, 64 hex digits."""


@dataclass(frozen=True, kw_only=True)
class InstanceNames:
    """The identifiers by which a PACS knows an image whose file was removed."""

    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    patient_id: str | None = field(default=None, repr=False)
    """The study's, as its first image had it; None if it had none, or it was erased."""


@dataclass(frozen=True, kw_only=True)
class PredecessorResult:
    """The result that a new one replaces."""

    model_name: str
    """Its model version."""
    revision: int
    """Revision of the study that it was about."""
    finished_at: datetime
    """When it was stored."""
    objects: tuple[SentObject, ...]
    """Its objects that were sent."""


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
    """Consecutive transient failures before this attempt."""
    refusals: int
    """Refusals so far."""
    predecessor: PredecessorResult | None
    """The result that it replaces."""


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """A request to a destination to confirm that it keeps these objects."""

    delivery_id: int
    destination: str
    transaction_uid: str = field(repr=False)
    objects: tuple[SentObject, ...]
    failures: int
    """How many requests in a row could not be made."""
    unanswered: int = 0
    """Earlier requests about the same sending that it accepted and has not answered yet."""


class CommitmentOutcome(StrEnum):
    """What followed from a destination's report on storage commitment."""

    COMMITTED = "committed"
    """It keeps every object."""
    SEND_AGAIN = "send_again"
    """It lacks some of them: all are sent again."""
    PARKED = "parked"
    """It lacked some of them too often: the delivery waits for a person."""
    UNKNOWN = "unknown"
    """No delivery expects such a report."""


@dataclass(frozen=True, kw_only=True)
class DestinationSummary:
    """The deliveries to one destination in numbers."""

    name: str
    is_active: bool
    """The file of peers names it."""
    by_state: Mapping[DeliveryState, int]
    """Deliveries in each state."""
    parked_by_code: Mapping[str, int]
    """Parked deliveries by error code."""
    oldest_waiting_seconds: float | None
    """How long the oldest result that was not sent yet has been outstanding."""
    failures: int
    """Consecutive failures of the destination as a whole."""
    probe_at: datetime | None
    """When it is tried next after a failure."""


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
