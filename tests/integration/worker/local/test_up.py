"""`pneumo up` before and around its parts: signals, folders, who may see them."""

from __future__ import annotations

import signal

import pytest

from worker.local.exclusive import locked
from worker.local.up import _note_stop_signals
from worker.settings import read_settings

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def own_signals():
    """Handlers as they were, once the test is over."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_ctrl_c_a_stop_and_a_lost_terminal_are_noted(own_signals, number):
    received = _note_stop_signals()
    # Raised in this thread, so that its handler has run; the kernel may give a signal of the process
    # to any thread, and the main one would note it some time later.
    signal.raise_signal(number)
    assert received == [number]


def test_sigint_stops_what_a_script_started_in_the_background(own_signals):
    """A shell without job control starts `pneumo up &` with SIGINT ignored (POSIX sh, 2.11)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received = _note_stop_signals()
    signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGINT]


def test_nohup_keeps_its_word(own_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    received = _note_stop_signals()
    signal.raise_signal(signal.SIGHUP)
    assert received == []


def test_a_new_state_folder_is_not_for_everybody(tmp_path):
    site = read_settings(state_dir=tmp_path / "site")
    with locked(site):
        assert site.state_dir.stat().st_mode & 0o007 == 0
