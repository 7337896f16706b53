"""The listener's TLS context, reloaded when its files change: certificates last some weeks.

A pair that cannot be used is not loaded: the previous one stays in use, and a condition says why.
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
from worker.storage.untrusted_files import FileStamp

log = get_logger(__name__)

FileStamps = tuple[FileStamp | None, ...]
"""Stamps of certificate, key and authorities; None for a file that is missing."""


class ListenerTls:
    """The TLS context of the next handshake; open associations keep theirs."""

    def __init__(self, settings: Settings) -> None:
        """Raises Rejected TLS_FILE_MISSING, TLS_FILE_UNUSABLE."""
        self._settings = settings
        self._loaded = self._seen = _stamps(settings)
        self.context: ssl.SSLContext = server_context(settings)
        self.trouble: Rejected | None = None
        """Why the changed files were not loaded."""

    def reload_if_changed(self) -> bool:
        """Load new files once they are unchanged from one check to the next; True if anything changed.

        They are written one after another: in between, a key does not fit its certificate.
        """
        found = _stamps(self._settings)
        is_unchanged, self._seen = found == self._seen, found
        if found == self._loaded:
            return self._set_trouble(None)
        if not is_unchanged:
            return False
        try:
            _refuse_invalid(self._settings)
            self.context = server_context(self._settings)
        except Rejected as error:
            return self._set_trouble(self._not_loaded(error))
        self._loaded = found
        log.info("tls_renewed")
        self._set_trouble(None)
        return True

    def _not_loaded(self, error: Rejected) -> Rejected:
        return Rejected(
            error.code,
            f"The listener keeps using its previous certificate, since the new one cannot be "
            f"used: {error.sentence}",
        )

    def _set_trouble(self, trouble: Rejected | None) -> bool:
        """Remember the trouble and return whether it changed."""
        before, self.trouble = self.trouble, trouble
        news = (before and before.sentence) != (trouble and trouble.sentence)
        if news and trouble is not None:
            log.warning("tls_not_renewed", code=trouble.code)
        return news


def _stamps(settings: Settings) -> FileStamps:
    return tuple(
        _stamp_or_none(path)
        for path in (settings.tls_certificate, settings.tls_key, settings.tls_authorities)
    )


def _stamp_or_none(path: Path | None) -> FileStamp | None:
    try:
        return FileStamp.of(path.stat()) if path else None
    except OSError:
        return None


def _refuse_invalid(settings: Settings) -> None:
    """Refuse a certificate outside its validity: OpenSSL would show it, and callers refuse it."""
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
            f"It ended on {end:%Y-%m-%d}. Replace it by a newer one.",
        )
    if begin > moment:
        raise Rejected(
            "CERTIFICATE_NOT_YET_VALID",
            f"It begins on {begin:%Y-%m-%d %H:%M} UTC and is loaded then; check this machine's "
            "clock if that time is past.",
        )
