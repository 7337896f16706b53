"""A PostgreSQL that speaks TLS: the machine's own, since the embedded one was built without."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.builders.certificates import Pair
from tests.builders.ports import free_port
from tests.builders.waiting import wait_until

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Where Debian puts the server; None where it is not installed."""
USER = "postgres"
"""The server refuses to run as root; then it runs as this user."""


@contextmanager
def tls_server(pair: Pair, password: str) -> Iterator[int]:
    """Run a server that takes TLS connections alone, with a password; yields its port."""
    folder = Path(tempfile.mkdtemp(prefix="pneumo-pg-tls-"))
    certificate, key = folder / "server.pem", folder / "server.key"
    shutil.copy(pair.certificate, certificate)
    shutil.copy(pair.key, key)
    (folder / "password").write_text(password)
    key.chmod(0o600)
    user = USER if os.geteuid() == 0 else None
    if user:
        owner = pwd.getpwnam(user)
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    data, port = folder / "data", free_port()
    run = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [BINARIES / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256",
         f"--pwfile={folder / 'password'}", "--no-sync"],
        check=True, **run,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    options = {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key, "fsync": "off",
               "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}  # fmt: skip
    server = subprocess.Popen(
        [BINARIES / "postgres", "-D", data, *(f"--{k}={v}" for k, v in options.items())], **run
    )
    try:
        wait_until(lambda: _answers(port, password), within_s=30, what="PostgreSQL by TLS")
        yield port
    finally:
        server.send_signal(signal.SIGINT)  # fast: it does not wait for connections
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int, password: str) -> bool:
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, user="owner", password=password, dbname="postgres"
        ):
            return True
    except psycopg.OperationalError:
        return False
