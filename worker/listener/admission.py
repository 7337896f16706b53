"""Who may open an association: AE titles by the site's lists.

An AE title is a name and no secret; the lists keep mistakes out, not attackers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from pynetdicom.sop_class import Verification

from worker.logging import get_logger
from worker.settings import Settings

log = get_logger(__name__)

HEALTH_AE_TITLE = "PNEUMO_HEALTH"
"""Our own probe (`pneumo health listener`), which every list admits: for Verification alone."""
PERMANENT, BY_SERVICE_USER = 0x01, 0x01
"""Result and source of an A-ASSOCIATE-RJ, PS3.8 9.3.4."""


class RejectionReason(Enum):
    """Why an association is rejected: the diagnostic of PS3.8 9.3.4."""

    CALLING_AE_TITLE = 0x03
    """Calling AE title not recognised."""
    CALLED_AE_TITLE = 0x07
    """Called AE title not recognised."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The lists of a site; an empty one admits everybody."""

    calling: frozenset[str]
    """AE titles that may call."""
    called: frozenset[str]
    """AE titles by which we may be called."""

    @classmethod
    def of(cls, settings: Settings) -> Admission:
        """Our own titles and our own probe need not be listed."""
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
        """Why these two titles are not admitted; None if they are.

        `verifies`: whether nothing but Verification is proposed. Anybody can take the probe's title,
        so it opens no other door, with lists and without.
        """
        if calling.strip() == HEALTH_AE_TITLE and not verifies:
            return RejectionReason.CALLING_AE_TITLE
        if self.calling and calling.strip() not in self.calling:
            return RejectionReason.CALLING_AE_TITLE
        if self.called and called.strip() not in self.called:
            return RejectionReason.CALLED_AE_TITLE
        return None


def admit(event: Any, admission: Admission) -> None:
    """Reject what the lists do not admit. `event`: pynetdicom's EVT_REQUESTED.

    A title may be a person's name in a small practice, so the log holds the reason and no title.
    """
    asked = event.assoc.requestor.primitive
    proposed = {context.abstract_syntax for context in asked.presentation_context_definition_list}
    why = admission.rejection_reason(
        calling=str(asked.calling_ae_title),
        called=str(asked.called_ae_title),
        verifies=proposed <= {Verification},
    )
    if why is not None:
        log.warning("association_rejected", reason=why.name)
        event.assoc.acse.send_reject(PERMANENT, BY_SERVICE_USER, why.value)
        event.assoc.kill()  # once the answer is sent, as pynetdicom does for its own rejections
