"""Records reach a collector over TCP and TLS as RFC 5424 and 5425 say, each at least once."""

from __future__ import annotations

import re
import socketserver
import ssl
import threading
from contextlib import contextmanager

import pytest
from lxml import etree

from db.ledger.conditions import active_conditions
from tests.builders.audit_schema import audit_schema
from tests.builders.certificates import make_parties, tls_server
from tests.builders.database import finish_one, uid_of
from tests.builders.ports import free_port
from worker.audit.forwarding import forward_records
from worker.audit.signed_note import make_key, read_notes, read_signer
from worker.maintenance.audit_keeper import AuditForwarder, CheckpointWriter
from worker.screens.audit import export_trail

HEADER = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]+ pneumo \d+ (\S+) - \xef\xbb\xbf"
)
SCHEMA = audit_schema()


class Collector(socketserver.ThreadingTCPServer):
    """Reads octet-counted messages until the sender closes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, context=None):
        self.received, self.context = [], context
        super().__init__(("127.0.0.1", 0), _Reader)

    @property
    def url(self):
        return f"{'tls' if self.context else 'tcp'}://127.0.0.1:{self.server_address[1]}"

    def messages(self):
        """Kind and text of every message."""
        found = []
        for message in self.received:
            header = HEADER.match(message)
            assert header, message[:120]
            found.append((header[1].decode(), message[header.end() :].decode()))
        return found


class _Reader(socketserver.StreamRequestHandler):
    def handle(self):
        stream = self.rfile
        if self.server.context:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            stream = self.request.makefile("rb")
        while length := self._length(stream):
            self.server.received.append(stream.read(length))
        if self.server.context:
            self.request.close()

    def _length(self, stream):
        digits = b""
        while (character := stream.read(1)).isdigit():
            digits += character
        assert character in (b" ", b"")
        return int(digits or b"0")


@contextmanager
def running(context=None):
    with Collector(context) as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()


def with_collector(site, url, **more):
    return site.settings.model_copy(update={"audit_collector": url, **more})


def assert_received(collector, count):
    """Every message is a valid one, and none came twice."""
    messages = collector.messages()
    assert {kind for kind, _ in messages} == {"DICOM+RFC3881"}
    for _, text in messages:
        assert SCHEMA.validate(etree.fromstring(text))
    assert len({text for _, text in messages}) == len(messages) == count


def test_new_records_are_forwarded_once_and_those_of_before_are_not(site):
    finish_one(site.database, uid=uid_of(1))
    with running() as collector:
        settings = with_collector(site, collector.url)
        assert forward_records(settings, site.database) == 0
        finish_one(site.database, uid=uid_of(2))
        assert forward_records(settings, site.database) == 3
        assert forward_records(settings, site.database) == 0
        assert_received(collector, 3)


def test_all_records_are_sent_by_hand(site):
    finish_one(site.database, uid=uid_of(1))
    everything = {"output": None, "first": None, "last": None, "study": None, "send": True}
    with running() as collector:
        settings = with_collector(site, collector.url)
        export_trail(settings, format="dicom", **everything)
        assert_received(collector, site.one("SELECT count(*) FROM audit_record"))


def test_records_are_forwarded_over_tls_to_a_collector_that_is_trusted(site, tmp_path):
    parties = make_parties(tmp_path)
    ours = parties["listener"]
    with running(tls_server(ours.certificate, ours.key)) as collector:
        trusted = with_collector(
            site, collector.url, tls_authorities=parties["authority"].certificate
        )
        forward_records(trusted, site.database)
        finish_one(site.database, uid=uid_of(2))
        strangers = with_collector(
            site, collector.url, tls_authorities=parties["their authority"].certificate
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            forward_records(strangers, site.database)
        assert forward_records(trusted, site.database) == 5
        assert_received(collector, 5)


def test_while_the_collector_is_away_records_wait_and_operators_are_told(site):
    port = free_port()
    settings = with_collector(site, f"tcp://127.0.0.1:{port}")
    forward_records(settings, site.database)
    finish_one(site.database, uid=uid_of(2))
    AuditForwarder(settings, site.database).run_once()
    with site.database.reading() as session:
        (condition,) = active_conditions(session)
    assert (condition.subject, condition.code) == ("audit collector", "AUDIT_COLLECTOR_AWAY")

    with running() as collector:
        back = with_collector(site, collector.url)
        AuditForwarder(back, site.database).run_once()
        assert_received(collector, 5)
    with site.database.reading() as session:
        assert active_conditions(session) == []


def test_checkpoints_go_to_the_file_and_to_the_collector(site, tmp_path):
    verifier = make_key(tmp_path / "key", "audit.example")
    finish_one(site.database, uid=uid_of(1))
    with running() as collector:
        settings = with_collector(site, collector.url, audit_key=tmp_path / "key")
        writer = CheckpointWriter(settings, site.database)
        writer.run_once()
        writer.run_once()
        text = settings.checkpoint_file.read_text()
        ((kind, sent),) = collector.messages()
    assert kind == "CHECKPOINT"
    assert text == f"{sent}\n"
    (note,) = read_notes(text.splitlines(keepends=True))
    assert verifier.accepts(note)
    assert settings.checkpoint_file.stat().st_mode & 0o777 == 0o600


def test_a_checkpoint_that_cannot_be_written_is_a_condition(site, tmp_path):
    make_key(tmp_path / "key", "audit.example")
    assert read_signer(tmp_path / "key").name == "audit.example"
    settings = site.settings.model_copy(
        update={"audit_key": tmp_path / "key", "audit_checkpoint_file": tmp_path}
    )
    CheckpointWriter(settings, site.database).run_once()
    with site.database.reading() as session:
        (condition,) = active_conditions(session)
    assert condition.code == "AUDIT_CHECKPOINT_FAILED"
