"""Where the broker is, with the password of the one that `pneumo up` runs itself.

That password is made once, in a file that only our user can read. It stands in no setting, so that it
appears in no environment, no command line and no log.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from worker.settings import Settings

LOOPBACK = {"127.0.0.1", "localhost"}
"""Hosts on which we run the broker ourselves; it binds to the first."""


def is_embedded(settings: Settings) -> bool:
    """Return whether the broker's URL is a port of this machine, so that we run it ourselves.

    A URL with a password belongs to a server that somebody set up, wherever it runs.
    """
    url = urlsplit(settings.broker_url)
    return url.scheme == "redis" and url.hostname in LOOPBACK and not url.password


def password_file(settings: Settings) -> Path:
    """Return the file with the password of the embedded broker."""
    return settings.state_dir / "broker" / "password"


def broker_address(settings: Settings) -> str:
    """Return the URL to connect to: PNEUMO_BROKER_URL, and the embedded broker's password if it has one."""
    if not is_embedded(settings):
        return settings.broker_url
    try:
        password = password_file(settings).read_text().strip()
    except FileNotFoundError:  # a broker that somebody else started without one
        return settings.broker_url
    url = urlsplit(settings.broker_url)
    return urlunsplit(url._replace(netloc=f":{password}@{url.netloc}"))
