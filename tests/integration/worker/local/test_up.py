"""`pneumo up` before and around its parts: signals, folders, who may see them."""

from __future__ import annotations

import os
import signal

import pytest

from tests.builders.waiting import wait_until
from worker.local.installation import locked
from worker.local.up import _stop_on_signals
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
    received = _stop_on_signals()
    os.kill(os.getpid(), number)
    wait_until(lambda: received == [number])  # a signal may come to another thread first


def test_nohup_keeps_its_word(own_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    received = _stop_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert received == []


def test_a_new_state_folder_is_not_for_everybody(tmp_path):
    site = read_settings(state_dir=tmp_path / "site")
    with locked(site):
        assert site.state_dir.stat().st_mode & 0o007 == 0
