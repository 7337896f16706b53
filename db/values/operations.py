"""What the relay, operators and auditors get."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NewModelVersion:
    """A verified bundle that is about to be registered."""

    name: str
    """e.g. "resnet50-1.0.0"."""
    architecture: str
    """e.g. "resnet50"."""
    bundle_digest: str
    """The manifest's own digest."""
    preprocessing_version: str
    """Version of the preprocessing that it was trained with."""
    temperature: float
    """Calibration: probability = sigmoid(logit / temperature + bias)."""
    bias: float = 0.0
    """Calibration."""
    threshold: float
    """Operating point on the calibrated probability."""
    location: str
    """Its folder, relative to the models folder."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord(NewModelVersion):
    """A registered model version."""

    id: int
    """Its row."""
    is_active: bool
    """Whether it predicts now; at most one does."""
    is_shadow: bool
    """Whether it predicts beside the active one, deciding nothing; at most one does."""
    registered_at: datetime
    """UTC."""
    activated_at: datetime | None
    """UTC, of the last activation."""


@dataclass(frozen=True, kw_only=True)
class ShadowStatus:
    """What the shadow of one worker has done since that worker loaded it."""

    model_name: str
    """Model version."""
    stored: int = 0
    """Studies whose shadow predictions were stored."""
    failed: int = 0
    """Studies on which it failed."""
    skipped: int = 0
    """Studies that it skipped because too many were pending."""


@dataclass(frozen=True, kw_only=True)
class LiveWorker:
    """A worker that was seen recently."""

    worker_name: str
    """Opaque name."""
    lanes: tuple[str, ...]
    """Lanes that it serves."""
    device: str
    """What it computes on."""
    model_name: str | None
    """Model version that it has loaded."""
    shadow: ShadowStatus | None = None
    """Its shadow, if it has loaded one."""
    started_at: datetime
    """UTC."""
    seen_at: datetime
    """UTC, of the last heartbeat."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What a check of the whole audit trail found."""

    ok: bool
    """True if every record is as it was written, and none is missing or added."""
    records: int
    """How many were checked."""
    first_broken: str | None
    """One sentence that names the first broken record; None if ok."""


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The end of one audit chain."""

    chain: int
    """0 to 15."""
    sequence: int
    """Number of its last record; 0: it has none."""
    hash: str
    """Of that record, 64 hex digits."""


@dataclass(frozen=True, kw_only=True)
class AuditDifference:
    """A row that says something else than the audit trail recorded; nothing personal."""

    study_key: str | None
    """The study's opaque key; None if the row belongs to no study."""
    what: str
    """The row, e.g. "study" or "prediction of file 0123456789ab frame 1 by resnet50-1.0.0"."""
    field: str
    """Column or digest; "row" if the whole row is missing or was added."""
    recorded: Any
    """Value in the audit trail."""
    found: Any
    """Value in the row."""

    def __str__(self) -> str:
        where = f"Study {self.study_key}, {self.what}" if self.study_key else self.what.capitalize()
        return f"{where}: {self.field} was recorded as {_shown(self.recorded)}, and the row has {_shown(self.found)}."


def _shown(value: Any) -> str:
    """Return a value for a person: digests by their beginning, nothing at length."""
    text = "none" if value is None else str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
