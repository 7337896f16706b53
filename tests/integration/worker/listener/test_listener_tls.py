"""DICOM TLS with real handshakes: who gets in, who does not, and who keeps nobody out."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage, Verification

from db.ledger.conditions import active_conditions
from tests.builders.certificates import make_certificate, make_certificate_between, make_parties
from tests.builders.dicom import make_instance
from tests.builders.site import data_set_of, store_file, write_with_other_meta
from tests.builders.waiting import scaled, wait_until
from worker.errors import Rejected
from worker.listener.certificate_check import certificate_problem, update_condition
from worker.listener.storage_scp import echo, start_listener

CR = ComputedRadiographyImageStorage
SOP = "1.2.3.30"


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Our authority with two certificates, and another authority with one."""
    return make_parties(tmp_path_factory.mktemp("pki"))


def with_tls(site, pki, mode, *, own="listener"):
    """The site, with a listener that speaks TLS."""
    site.settings = site.settings.model_copy(
        update={
            "listen_tls": mode,
            "tls_certificate": pki[own].certificate,
            "tls_key": pki[own].key,
            "tls_authorities": pki["authority"].certificate,
        }
    )
    return site


def caller(pki, own=None) -> ssl.SSLContext:
    """A sender that checks our certificate and shows one of these, or none."""
    context = ssl.create_default_context(cafile=pki["authority"].certificate)
    if own is not None:
        context.load_cert_chain(pki[own].certificate, pki[own].key)
    return context


def is_let_in(site, tls: ssl.SSLContext | None) -> bool:
    unit = AE()
    unit.acse_timeout = unit.connection_timeout = scaled(5)
    unit.add_requested_context(Verification)
    address = ("127.0.0.1", site.settings.listen_port)
    opened = unit.associate(*address, tls_args=(tls, address[0]) if tls else None)
    established = opened.is_established
    if established:
        opened.release()
    return established


@pytest.mark.parametrize(("mode", "own"), [("server", None), ("mutual", "modality")])
def test_an_instance_arrives_byte_for_byte_over_tls(site, pki, tmp_path, mode, own):
    with_tls(site, pki, mode).listen()
    dataset = make_instance(rows=900, columns=900, sop_instance_uid=SOP)
    path = write_with_other_meta(tmp_path / "a.dcm", dataset)
    with site.association((CR, ExplicitVRLittleEndian), tls=caller(pki, own)) as opened:
        assert store_file(opened, path).Status == 0x0000
        assert store_file(opened, path).Status == 0x0000
    assert data_set_of(site.file_of(SOP)) == data_set_of(path.read_bytes())


def test_who_does_not_speak_tls_is_not_let_in(site, pki):
    with_tls(site, pki, "server").listen()
    assert not is_let_in(site, None)
    assert is_let_in(site, caller(pki))


@pytest.mark.parametrize("own", [None, "stranger"])
def test_mutual_tls_wants_a_certificate_that_our_authority_signed(site, pki, own):
    with_tls(site, pki, "mutual").listen()
    assert not is_let_in(site, caller(pki, own))
    assert is_let_in(site, caller(pki, "modality"))


def test_a_failed_handshake_is_a_reason_in_the_log(site, pki, tmp_path):
    with_tls(site, pki, "mutual")
    log = tmp_path / "log"
    site.listen_apart(log)
    assert not is_let_in(site, caller(pki))
    wait_until(lambda: "PEER_DID_NOT_RETURN_A_CERTIFICATE" in log.read_text())
    assert not is_let_in(site, caller(pki, "stranger"))
    wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in log.read_text())
    assert "stranger" not in log.read_text()


def test_callers_who_say_nothing_keep_nobody_out(site, pki):
    with_tls(site, pki, "server").listen()
    address = ("127.0.0.1", site.settings.listen_port)
    with ExitStack() as stack:
        for _ in range(104):
            stack.enter_context(socket.create_connection(address))
        assert is_let_in(site, caller(pki))


def test_a_caller_who_says_nothing_is_hung_up_on(site, pki, monkeypatch):
    monkeypatch.setattr("worker.listener.connections.HANDSHAKE_TIMEOUT_S", 0.2)
    with_tls(site, pki, "server").listen()
    with socket.create_connection(
        ("127.0.0.1", site.settings.listen_port), timeout=scaled(10)
    ) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    ("mode", "own"), [("server", "listener"), ("mutual", "listener"), ("mutual", "stranger")]
)
def test_health_is_asked_over_tls_too(site, pki, mode, own):
    """Also when our own certificate is not of those whom we trust."""
    listener = with_tls(site, pki, mode, own=own).listen()
    assert echo(site.settings)
    listener.close()
    assert not echo(site.settings, timeout_s=1)


def test_trusting_our_own_certificate_does_not_trust_who_signed_it(site, pki, tmp_path):
    with_tls(site, pki, "mutual", own="stranger").listen()
    context = caller(pki, "modality")
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert is_let_in(site, context)
    other = make_certificate(tmp_path, "another", pki["their authority"])
    context.load_cert_chain(other.certificate, other.key)
    assert not is_let_in(site, context)


# -- our own certificate ------------------------------------------------------------------------


def test_without_its_files_the_listener_does_not_start(site, pki, tmp_path):
    with_tls(site, pki, "server")
    site.settings = site.settings.model_copy(update={"tls_key": None})
    with pytest.raises(Rejected, match=r"TLS_FILE_MISSING: .* PNEUMO_TLS_KEY"):
        start_listener(site.settings, site.database)


def test_the_wrong_key_ends_the_command_with_one_sentence_and_is_a_condition(site, pki, tmp_path):
    with_tls(site, pki, "server")
    site.settings = site.settings.model_copy(update={"tls_key": pki["stranger"].key})
    log = tmp_path / "log"
    assert site.start("worker.cli", "listen", log=log).wait(timeout=scaled(30)) == 1
    assert " ".join(log.read_text().split()).startswith("TLS_FILE_UNUSABLE listener.pem with str")
    assert held(site) == [("listener tls", "TLS_FILE_UNUSABLE")]

    site.settings = site.settings.model_copy(update={"tls_key": pki["listener"].key})
    site.listen_apart()
    wait_until(lambda: held(site) == [])


@pytest.mark.parametrize(
    ("days", "code"), [(91, "CERTIFICATE_EXPIRED"), (61, "CERTIFICATE_EXPIRES_SOON"), (59, None)]
)
def test_the_end_of_our_certificate_is_told_in_time(site, pki, days, code):
    with_tls(site, pki, "server")
    trouble = certificate_problem(site.settings, moment=datetime.now(UTC) + timedelta(days=days))
    update_condition(site.database, trouble)
    assert held(site) == ([("listener tls", code)] if code else [])


# -- a renewed certificate ----------------------------------------------------------------------


@pytest.fixture
def renewable(site, pki, tmp_path):
    """A site whose files may be exchanged, and what puts another party's, or a text, in their place."""

    def put(own: str | None = None, *, certificate: str | None = None, key: str | None = None):
        for end, party in (("certificate", certificate or own), ("key", key or own)):
            if party is not None:
                text = getattr(pki[party], end).read_bytes() if party in pki else party.encode()
                (tmp_path / f"new.{end}").write_bytes(text)
                (tmp_path / f"new.{end}").replace(tmp_path / f"own.{end}")

    put("listener")
    with_tls(site, pki, "server")
    files = {"tls_certificate": tmp_path / "own.certificate", "tls_key": tmp_path / "own.key"}
    site.settings = site.settings.model_copy(update=files)
    return put


def shown(site, pki) -> str:
    """Whose certificate a new caller sees."""
    context = caller(pki)
    context.load_verify_locations(pki["their authority"].certificate)
    address = ("127.0.0.1", site.settings.listen_port)
    with (
        socket.create_connection(address, timeout=scaled(10)) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as secured,
    ):
        return dict(pair for (pair,) in secured.getpeercert()["subject"])["commonName"]


def test_a_renewed_certificate_is_taken_and_open_associations_go_on(site, pki, renewable, tmp_path):
    own = site.listen().tls
    path = write_with_other_meta(tmp_path / "a.dcm", make_instance(sop_instance_uid=SOP))
    with site.association((CR, ExplicitVRLittleEndian), tls=caller(pki)) as opened:
        renewable("modality")
        assert not own.reload_if_changed(), "it may not be written to its end"
        assert shown(site, pki) == "listener"
        assert own.reload_if_changed()
        assert shown(site, pki) == "modality"
        assert store_file(opened, path).Status == 0x0000
    assert not own.reload_if_changed()
    assert own.trouble is None


@pytest.mark.parametrize(
    ("bad", "code", "says"),
    [
        ({"certificate": "modality"}, "TLS_FILE_UNUSABLE", "KEY_VALUES_MISMATCH"),
        ({"key": "no key"}, "TLS_FILE_UNUSABLE", "own.key cannot be used"),
        ({"certificate": "no certificate"}, "TLS_FILE_UNUSABLE", "no certificate in PEM"),
        ({"own": "ended"}, "CERTIFICATE_EXPIRED", "It ended on 2020-01-02"),
        ({"own": "not begun"}, "CERTIFICATE_NOT_YET_VALID", "It begins on 2090-01-01"),
    ],
)
def test_a_bad_pair_is_not_taken_and_the_old_one_serves_on(
    site, pki, renewable, tmp_path, bad, code, says
):
    for name, times in {"ended": ENDED, "not begun": NOT_BEGUN}.items():
        if bad.get("own") == name:
            pki[name] = make_certificate_between(tmp_path, name, pki["authority"], *times)
    own = site.listen().tls
    renewable(**bad)
    assert [own.reload_if_changed(), own.reload_if_changed(), own.reload_if_changed()] == [
        False,
        True,
        False,
    ]
    assert (own.trouble.code, says in own.trouble.sentence) == (code, True)
    assert str(tmp_path) not in own.trouble.sentence
    assert is_let_in(site, caller(pki))
    assert shown(site, pki) == "listener"

    renewable("modality")
    assert [own.reload_if_changed(), own.reload_if_changed()] == [False, True]
    assert own.trouble is None
    assert shown(site, pki) == "modality"


ENDED = ("20200101000000Z", "20200102000000Z")
NOT_BEGUN = ("20900101000000Z", "20900102000000Z")


def test_files_that_are_away_for_a_while_change_nothing(site, pki, renewable):
    own = site.listen().tls
    site.settings.tls_certificate.rename(site.settings.tls_certificate.with_suffix(".old"))
    assert [own.reload_if_changed(), own.reload_if_changed()] == [False, True]
    assert "No such file" in own.trouble.sentence
    assert shown(site, pki) == "listener"
    site.settings.tls_certificate.with_suffix(".old").rename(site.settings.tls_certificate)
    assert own.reload_if_changed()
    assert own.trouble is None


def test_the_command_renews_by_itself_and_tells_what_it_did_not_take(
    site, pki, renewable, tmp_path
):
    log = tmp_path / "log"
    site.listen_apart(log)
    renewable(certificate="modality")
    wait_until(lambda: held(site) == [("listener tls", "TLS_FILE_UNUSABLE")])
    assert shown(site, pki) == "listener"
    renewable(key="modality")
    wait_until(lambda: held(site) == [])
    assert shown(site, pki) == "modality"
    assert "tls_renewed" in log.read_text()


def held(site):
    with site.database.reading() as session:
        return [(condition.subject, condition.code) for condition in active_conditions(session)]
