"""Pseudonyms: what stands for a patient or an accession number where the identifier must not stand.

A pseudonym is HMAC-SHA256 (RFC 2104) by a key that only the site has. Whoever has a pseudonym cannot find
the identifier, not even by trying all of them, as could be done with a plain hash of so few digits.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import StudyIdentity

BATCH = 500
"""Rows that are given pseudonyms in one transaction."""
_SEPARATOR = b"\0"
"""No identifier holds one, so that no two of them are joined into the same text."""


@dataclass(frozen=True, kw_only=True)
class SiteKey:
    """The secret key of the site."""

    secret: bytes = field(repr=False)
    """At least 32 bytes."""

    def of_patient(self, patient_id: str, issuer: str | None) -> str:
        """Return the pseudonym, 64 hex digits, of (0010,0020) Patient ID as issued by (0010,0021)."""
        return self._digest("patient", issuer or "", patient_id)

    def of_accession(self, accession_number: str) -> str:
        """Return the pseudonym, 64 hex digits, of (0008,0050) Accession Number."""
        return self._digest("accession", accession_number)

    def of_uid(self, uid: str) -> str:
        """Return the UID that stands for another one in de-identified copies (PS3.5 B.2)."""
        return f"2.25.{int(self._digest('uid', uid)[:32], 16)}"

    def _digest(self, *parts: str) -> str:
        message = _SEPARATOR.join(part.strip().encode() for part in parts)
        return hmac.digest(self.secret, message, "sha256").hex()


def fill_pseudonyms(session: Session, key: SiteKey) -> int:
    """Give pseudonyms to rows that have none yet; return how many, at most `BATCH`.

    One process of the site does so, so that no other needs the key.
    """
    rows = session.scalars(
        select(StudyIdentity)
        .where(
            StudyIdentity.patient_pseudonym.is_(None), StudyIdentity.accession_pseudonym.is_(None)
        )
        .order_by(StudyIdentity.study_id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)  # an erasure may hold one, which is gone after it
    ).all()
    for row in rows:
        if row.patient_id is not None:
            row.patient_pseudonym = key.of_patient(row.patient_id, row.issuer_of_patient_id)
        if row.accession_number is not None:
            row.accession_pseudonym = key.of_accession(row.accession_number)
    session.flush()
    return len(rows)
