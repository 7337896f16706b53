"""The listener's TLS context, renewed when its files are: hospitals' certificates last some weeks.

A pair that cannot be used is not taken: what was read before serves on, and a person is told why.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from worker.errors import Rejected
from worker.logging import get_logger
from worker.peers.certificates import not_after_of, not_before_of
from worker.peers.tls import server_context
from worker.settings import Settings

log = get_logger(__name__)

FileStamps = tuple[tuple[int, int, int] | None, ...]
"""Inode, size and last change of certificate, key and authorities; None for a file that is away."""


class ListenerTls:
    """`context` is for the next handshake; associations that are open keep theirs."""

    def __init__(self, settings: Settings) -> None:
        """Raises Rejected TLS_FILE_MISSING, TLS_FILE_UNUSABLE."""
        self._settings = settings
        self._taken = self._seen = _stamps(settings)
        self.context: ssl.SSLContext = server_context(settings)
        self.trouble: Rejected | None = None
        """Why the files, which have changed, were not taken."""

    def reload_if_changed(self) -> bool:
        """Take new files once they lie still from one look to the next; True if anything changed.

        They are written one after another: in between, a key does not fit its certificate.
        """
        found = _stamps(self._settings)
        lies_still, self._seen = found == self._seen, found
        if found == self._taken:
            return self._told(None)
        if not lies_still:
            return False
        try:
            _refuse_invalid(self._settings)
            self.context = server_context(self._settings)
        except Rejected as error:
            return self._told(self._kept_on(error))
        self._taken = found
        log.info("tls_renewed")
        self._told(None)
        return True

    def _kept_on(self, error: Rejected) -> Rejected:
        return Rejected(
            error.code,
            f"The listener goes on with the certificate that it has, since the new one was not "
            f"taken: {error.sentence}",
        )

    def _told(self, trouble: Rejected | None) -> bool:
        """Whether that is news."""
        before, self.trouble = self.trouble, trouble
        news = (before and before.sentence) != (trouble and trouble.sentence)
        if news and trouble is not None:
            log.warning("tls_not_renewed", code=trouble.code)
        return news


def _stamps(settings: Settings) -> FileStamps:
    return tuple(
        _of(path) for path in (settings.tls_certificate, settings.tls_key, settings.tls_authorities)
    )


def _of(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _refuse_invalid(settings: Settings) -> None:
    """OpenSSL shows any certificate; its callers would refuse one whose days are not these."""
    path, moment = settings.tls_certificate, datetime.now(UTC)
    if path is None:
        return
    try:
        begin, end = not_before_of(path), not_after_of(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no certificate in PEM"
        raise Rejected(
            "TLS_FILE_UNUSABLE",
            f"PNEUMO_TLS_CERTIFICATE cannot be read ({reason}). Put the PEM file in its place.",
        ) from None
    if end <= moment:
        raise Rejected(
            "CERTIFICATE_EXPIRED",
            f"It ended on {end:%Y-%m-%d}. Put a newer one in its place.",
        )
    if begin > moment:
        raise Rejected(
            "CERTIFICATE_NOT_YET_VALID",
            f"It begins on {begin:%Y-%m-%d %H:%M} UTC and is taken by itself then; check this "
            "machine's clock if that is past.",
        )
