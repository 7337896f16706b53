"""notAfter is read as openssl wrote it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.builders.certificates import make_authority, make_certificate
from worker.peers.certificates import first_certificate, not_after_of


@pytest.mark.parametrize("days", [1, 90, 20_000])
def test_the_end_of_a_certificate(tmp_path, days):
    """Up to 2049 as UTCTime, from 2050 as GeneralizedTime (RFC 5280 4.1.2.5)."""
    authority = make_authority(tmp_path, "authority")
    before = datetime.now(UTC).replace(microsecond=0)
    made = make_certificate(tmp_path, "made", authority, days=days)
    after = datetime.now(UTC)
    assert before <= not_after_of(made.certificate) - timedelta(days=days) <= after


def test_the_first_of_a_chain_is_ours(tmp_path):
    authority = make_authority(tmp_path, "authority")
    made = make_certificate(tmp_path, "made", authority, days=3)
    chain = tmp_path / "chain.pem"
    chain.write_text(made.certificate.read_text() + authority.certificate.read_text())
    assert not_after_of(chain) == not_after_of(made.certificate)
    assert first_certificate(chain) == made.certificate.read_text()


@pytest.mark.parametrize(
    "content",
    ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_what_is_no_certificate_is_a_value_error(tmp_path, content):
    (tmp_path / "a.pem").write_text(content)
    with pytest.raises(ValueError):  # noqa: PT011  of several kinds, and nobody shows its words
        not_after_of(tmp_path / "a.pem")
