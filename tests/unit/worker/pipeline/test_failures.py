"""Errors are settled by kind; delays double, are spread, and end."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError, OperationalError

from worker.errors import Bug, ErrorKind, Rejected, Resource, Transient
from worker.failure_kinds import classify
from worker.pipeline.failures import backoff_of
from worker.settings import Settings

BACKOFF = backoff_of(Settings(retry_base_s=1.0, retry_ceiling_s=300.0, max_retries=8))


class ServerClosed(Exception):
    """What a driver raises when the server never answered: no SQLSTATE."""


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (Transient("FILE_MISSING", "…"), ErrorKind.TRANSIENT, "FILE_MISSING"),
        (Resource("DISK_FULL", "…"), ErrorKind.RESOURCE, "DISK_FULL"),
        (Rejected("X", "…"), ErrorKind.REJECTED, "X"),
        (Bug("NON_FINITE_OUTPUT", "…"), ErrorKind.BUG, "NON_FINITE_OUTPUT"),
        (OperationalError("SELECT", {}, ServerClosed()), ErrorKind.TRANSIENT, "DATABASE_AWAY"),
        (IntegrityError("INSERT", {}, ServerClosed()), ErrorKind.BUG, "BUG"),
        (torch.OutOfMemoryError(), ErrorKind.RESOURCE, "OUT_OF_MEMORY"),
        (torch.AcceleratorError(), ErrorKind.RESOURCE, "DEVICE_FAILED"),
        (RuntimeError("can't allocate memory"), ErrorKind.RESOURCE, "OUT_OF_MEMORY"),
        (MemoryError(), ErrorKind.RESOURCE, "OUT_OF_MEMORY"),
        (PermissionError("DOE^JANE"), ErrorKind.TRANSIENT, "FILE_SYSTEM_ERROR"),
        (ValueError("DOE^JANE"), ErrorKind.BUG, "BUG"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_the_kind_follows_from_the_error(error, kind, code):
    failure = classify(error)
    assert (failure.kind, failure.code) == (kind, code)
    assert "DOE" not in failure.sentence


@given(retries=st.integers(0, 7), jitter=st.floats(0, 1))
def test_a_delay_doubles_within_half_and_one_and_a_half_of_itself(retries, jitter):
    delay = BACKOFF.delay_s(retries, jitter=jitter)
    plain = min(2.0**retries, 300.0)
    assert 0.5 * plain <= delay <= 1.5 * plain


def test_there_is_an_end_of_retrying():
    assert [BACKOFF.is_exhausted(retries) for retries in (0, 7, 8)] == [False, False, True]


def test_the_ceiling_holds():
    assert BACKOFF.delay_s(40, jitter=0.5) == 300
