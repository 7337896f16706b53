"""Pauses that grow for days, and words about a destination that hold nobody's name."""

from __future__ import annotations

import ssl
from typing import get_args

import pytest

from db.values import Backoff
from worker.delivery import errors
from worker.delivery.senders import SENDERS
from worker.errors import ErrorKind
from worker.peers.associations import tls_failure_reason
from worker.peers.peers_file import Peer


def test_pauses_double_up_to_the_ceiling_for_as_long_as_it_takes():
    backoff = Backoff(base_s=1, ceiling_s=3600, spread=0.25)
    pauses = [backoff.delay_s(n, jitter=0.5) for n in (0, 1, 2, 11, 12, 10_000)]
    assert pauses == [1, 2, 4, 2048, 3600, 3600]


def test_pauses_are_spread_so_that_destinations_are_not_tried_together():
    backoff = Backoff(base_s=1, ceiling_s=3600, spread=0.25)
    assert (backoff.delay_s(3, jitter=0), backoff.delay_s(3, jitter=1)) == (6, 10)


@pytest.mark.parametrize(
    ("error", "with_this_result"),
    [
        (errors.away("pacs"), False),
        (errors.certificate("pacs", "it has expired"), False),
        (errors.refuses("pacs", "why"), False),
        (errors.unknown("pacs"), False),
        (errors.fails("pacs", "why"), True),
    ],
)
def test_what_is_wrong_with_a_destination_is_never_given_up(error, with_this_result):
    assert error.kind is ErrorKind.TRANSIENT
    assert error.with_this_result is with_this_result
    assert error.sentence.startswith("pacs ") or " pacs " in error.sentence


def test_a_certificate_is_told_by_what_is_wrong_with_it():
    error = ssl.SSLCertVerificationError()
    error.verify_code = 10
    assert tls_failure_reason(error) == "its certificate has expired"
    error.verify_code = 99
    assert tls_failure_reason(error) == "verification code 99"


def test_every_protocol_of_the_file_of_peers_has_its_sender():
    words = get_args(get_args(Peer.model_fields["results"].annotation)[0])
    assert set(SENDERS) == set(words)
