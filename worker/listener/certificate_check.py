"""Problems with the listener's own certificate, as a condition for `pneumo status`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database
from db.ledger.conditions import end_condition, note_condition
from worker.errors import Rejected
from worker.logging import get_logger
from worker.peers.certificates import not_after_of
from worker.settings import Settings

log = get_logger(__name__)

SUBJECT = "listener tls"
EXPIRY_WARNING = timedelta(days=30)
"""Hospitals need some weeks for a certificate."""


def certificate_problem(settings: Settings, *, moment: datetime | None = None) -> Rejected | None:
    """Return why the certificate has expired or soon will; None if it has not, or TLS is off."""
    if settings.listen_tls == "off" or settings.tls_certificate is None:
        return None
    try:
        end = not_after_of(settings.tls_certificate)
    except (OSError, ValueError):
        return Rejected(
            "TLS_FILE_UNUSABLE",
            "The certificate of PNEUMO_TLS_CERTIFICATE cannot be read any more. The listener "
            "continues with what it read, and could not start again: put the PEM file back.",
        )
    left = end - (moment or datetime.now(UTC))
    if left > EXPIRY_WARNING:
        return None
    what = (
        "Get a new one and put it, with its key, in place of the files of PNEUMO_TLS_CERTIFICATE and "
        "PNEUMO_TLS_KEY: the listener loads it by itself."
    )
    if left <= timedelta(0):
        return Rejected(
            "CERTIFICATE_EXPIRED",
            f"The listener's certificate has ended on {end:%Y-%m-%d}; senders refuse it. {what}",
        )
    return Rejected(
        "CERTIFICATE_EXPIRES_SOON",
        f"The listener's certificate ends on {end:%Y-%m-%d}, in {left.days} days. {what}",
    )


def update_condition(database: Database, trouble: Rejected | None) -> bool:
    """Record the problem or its end, and return whether it was recorded: the database may be away."""
    try:
        with database.transaction() as session:
            if trouble is None:
                end_condition(session, SUBJECT)
            else:
                note_condition(session, SUBJECT, trouble.code, trouble.sentence)
    except SQLAlchemyError as error:
        log.warning("condition_not_kept", error_type=type(error).__qualname__)
        return False
    return True
