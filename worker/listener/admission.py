"""Which associations the listener accepts: by AE title, by number, and by the room on the disk.

An AE title is a name and no secret; the lists keep mistakes out, not attackers. A title may be a
person's name in a small practice, so the log has the reason of a rejection and no title.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.disk import DISK_NEARLY_FULL, DiskLevel, disk_monitor_of

log = get_logger(__name__)

HEALTH_AE_TITLE = "PNEUMO_HEALTH"
"""Our own probe (`pneumo health listener`), which every list admits: for Verification alone."""
HEALTH_ASSOCIATIONS = 3
"""So many probes are accepted beside a full listener, which is not dead."""
NOT_STORAGE = frozenset({Verification, StorageCommitmentPushModel})
"""They need no room on the disk; anything else may store."""


class RejectionReason(Enum):
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    CALLING_AE_TITLE = (1, 1, 3)
    """Permanent, service user: calling AE title not recognised."""
    CALLED_AE_TITLE = (1, 1, 7)
    """Permanent, service user: called AE title not recognised."""
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
    """Transient, service provider (presentation): the caller may come back."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The AE titles of a site; an empty list admits everybody."""

    calling: frozenset[str]
    """AE titles that may call."""
    called: frozenset[str]
    """AE titles by which we may be called."""

    @classmethod
    def of(cls, settings: Settings) -> Admission:
        """Return the lists of a site; our own titles and our own probe need not be listed."""
        calling, called = settings.calling_ae_title_list, settings.called_ae_title_list
        return cls(
            calling=frozenset([*calling, HEALTH_AE_TITLE] if calling else []),
            called=frozenset(
                [*called, settings.ae_title, settings.stat_ae_title] if called else []
            ),
        )

    def rejection_reason(
        self, *, calling: str, called: str, verifies: bool = True
    ) -> RejectionReason | None:
        """Return why these two titles are not admitted; None if they are.

        `verifies`: whether nothing but Verification is proposed. Anybody can use the probe's title,
        so it admits to nothing else, with lists and without.
        """
        if calling.strip() == HEALTH_AE_TITLE and not verifies:
            return RejectionReason.CALLING_AE_TITLE
        if self.calling and calling.strip() not in self.calling:
            return RejectionReason.CALLING_AE_TITLE
        if self.called and called.strip() not in self.called:
            return RejectionReason.CALLED_AE_TITLE
        return None


class AssociationSlots:
    """The associations that are open, counted in total and by calling host. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self._total = settings.max_associations
        self._per_host = settings.max_associations_per_host
        self._lock = threading.Lock()
        self._open: list[tuple[Any, str]] = []
        """Each with its calling host."""

    def take(self, association: Any, host: str, *, is_probe: bool) -> str | None:
        """Take a slot until the association ends; return the limit that forbids it, if one does."""
        with self._lock:
            self._open = [(open_, at) for open_, at in self._open if not _has_ended(open_)]
            total = self._total + (HEALTH_ASSOCIATIONS if is_probe else 0)
            if len(self._open) >= total:
                return "MAX_ASSOCIATIONS"
            if not is_probe and sum(at == host for _, at in self._open) >= self._per_host:
                return "MAX_ASSOCIATIONS_PER_HOST"
            self._open.append((association, host))
        return None


def admit(event: Any, admission: Admission, slots: AssociationSlots, settings: Settings) -> None:
    """Reject an association that the site does not admit now. `event`: pynetdicom's EVT_REQUESTED.

    C-ECHO is possible even with a full disk: such a listener is not dead, and health checks ask it.
    """
    association, request = event.assoc, event.assoc.requestor.primitive
    calling = str(request.calling_ae_title)
    proposed = {context.abstract_syntax for context in request.presentation_context_definition_list}
    reason = admission.rejection_reason(
        calling=calling,
        called=str(request.called_ae_title),
        verifies=proposed <= {Verification},
    )
    if reason is not None:
        _reject(association, reason, reason.name)
    elif may_store(proposed) and disk_monitor_of(settings).level() is DiskLevel.NEARLY_FULL:
        _reject(association, RejectionReason.LOCAL_LIMIT_EXCEEDED, DISK_NEARLY_FULL)
    else:
        host = association.requestor.address_info.address
        is_probe = calling.strip() == HEALTH_AE_TITLE
        if limit := slots.take(association, host, is_probe=is_probe):
            _reject(association, RejectionReason.LOCAL_LIMIT_EXCEEDED, limit)


def may_store(proposed: Iterable[str]) -> bool:
    """Return whether one of these abstract syntaxes may store an instance."""
    return any(syntax not in NOT_STORAGE for syntax in proposed)


def _reject(association: Any, reason: RejectionReason, logged: str) -> None:
    log.warning("association_rejected", reason=logged)
    association.acse.send_reject(*reason.value)
    association.kill()  # once the answer is sent, as pynetdicom does for its own rejections


def _has_ended(association: Any) -> bool:
    ended = association.is_released or association.is_aborted or association.is_rejected
    return bool(ended) or not association.is_alive()
