"""Rates, windows and days of a backfill; how long a failing archive is left alone."""

from __future__ import annotations

import time as clock
from datetime import date, time

import pytest

from worker.archive.backfill import Rate, Window, days_between
from worker.archive.circuit_breaker import CircuitBreaker
from worker.errors import Rejected, Unavailable
from worker.screens.archive_days import modalities_of
from worker.settings import read_settings


@pytest.mark.parametrize(
    ("text", "apart_s"), [("30/min", 2.0), ("2/s", 0.5), ("3600/h", 1.0), (" 1/min ", 60.0)]
)
def test_a_rate_is_spread_evenly(text, apart_s):
    assert Rate.parse(text).interval_s == apart_s


@pytest.mark.parametrize("text", ["", "0/min", "30", "30/day", "-1/s", "1.5/s", "30/min;"])
def test_what_is_no_rate(text):
    with pytest.raises(Rejected, match="RATE_INVALID"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("window", "open_at", "closed_at"),
    [
        ("20:00-06:00", ["20:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "19:59"]),
        ("09:30-17:00", ["09:30", "16:59"], ["17:00", "00:00", "09:29"]),
    ],
)
def test_a_window_may_go_over_midnight(window, open_at, closed_at):
    parsed = Window.parse(window)
    assert all(parsed.is_open(time.fromisoformat(at)) for at in open_at)
    assert not any(parsed.is_open(time.fromisoformat(at)) for at in closed_at)


@pytest.mark.parametrize("text", ["", "20-06", "24:00-06:00", "20:60-06:00", "20:00-20:00", "x"])
def test_what_is_no_window(text):
    with pytest.raises(Rejected, match="WINDOW_INVALID"):
        Window.parse(text)


def test_both_days_are_included():
    first, last = date(2026, 2, 28), date(2026, 3, 2)
    assert list(days_between(first, last)) == [first, date(2026, 3, 1), last]
    assert list(days_between(last, first)) == []


def test_modalities_one_by_one():
    assert modalities_of("cr, DX") == ("CR", "DX")
    assert modalities_of("all") == ()
    for wrong in ("", "CR,", "C R", "CR\\DX", "*"):
        with pytest.raises(Rejected, match="MODALITY_INVALID"):
            modalities_of(wrong)


def test_an_archive_that_fails_is_left_alone_twice_as_long_each_time(tmp_path):
    breaker = CircuitBreaker(
        read_settings(state_dir=tmp_path, retry_base_s=100.0, retry_ceiling_s=250.0)
    )
    error = Unavailable("ARCHIVE_AWAY", "It is away.", subject="archive pacs")
    breaker.refuse_when_open("archive pacs")

    met = breaker.record_failure(error)
    assert 99 < met.wait_s <= 200
    with pytest.raises(Unavailable, match="ARCHIVE_AWAY") as refused:
        breaker.refuse_when_open("archive pacs")
    assert refused.value.wait_s > 99
    breaker.refuse_when_open("archive other")
    assert breaker._open["archive pacs"].failures == 1
    breaker.record_failure(error)
    assert breaker._open["archive pacs"].failures == 1, "another thread met the same failure"

    breaker.record_success("archive pacs")
    breaker.refuse_when_open("archive pacs")


def test_an_archive_that_is_away_for_months(tmp_path):
    breaker = CircuitBreaker(
        read_settings(state_dir=tmp_path, retry_base_s=1e-9, retry_ceiling_s=1e-8)
    )
    gone = Unavailable("ARCHIVE_AWAY", "It is away.", subject="archive pacs")
    for _ in range(2_000):
        waits = breaker.record_failure(gone)
        while clock.monotonic() < breaker._open["archive pacs"].until:
            pass
    assert breaker._open["archive pacs"].failures == 2_000
    assert waits.wait_s < 1.0
