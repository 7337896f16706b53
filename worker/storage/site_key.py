"""The site's key for pseudonyms: read from its file, which is made once if the site names none."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from db.ledger.pseudonyms import SiteKey
from worker.errors import Rejected, Resource
from worker.settings import Settings

FILE_NAME = "identity.key"
"""In the state folder, where PNEUMO_IDENTITY_KEY names no other."""
SHORTEST = 32
"""Bytes: as many as SHA-256 gives (RFC 2104, 3)."""


def read_site_key(settings: Settings) -> SiteKey:
    """Return the site's key; make the file in the state folder if there is none.

    Raises:
        Rejected: IDENTITY_KEY_UNREADABLE, IDENTITY_KEY_TOO_SHORT.
        Resource: IDENTITY_KEY_NOT_WRITTEN.
    """
    path = settings.identity_key or settings.state_dir / FILE_NAME
    if settings.identity_key is None:
        _make_once(path)
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise Rejected(
            "IDENTITY_KEY_UNREADABLE",
            f"The file of PNEUMO_IDENTITY_KEY cannot be read ({type(error).__name__}). Check that it is "
            "there and that this user may read it.",
        ) from None
    if len(secret) < SHORTEST:
        raise Rejected(
            "IDENTITY_KEY_TOO_SHORT",
            f"The file of PNEUMO_IDENTITY_KEY holds {len(secret)} bytes; expected at least {SHORTEST}. "
            "Make one with `openssl rand -hex 32`.",
        )
    return SiteKey(secret=secret)


def _make_once(path: Path) -> None:
    """Make the file unless it is there, complete from its first moment, for its owner alone."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(partial, path)
    except OSError as error:
        raise Resource(
            "IDENTITY_KEY_NOT_WRITTEN",
            f"The key for pseudonyms could not be written to the state folder ({type(error).__name__}). "
            "Check PNEUMO_STATE_DIR, or name a file with PNEUMO_IDENTITY_KEY.",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
