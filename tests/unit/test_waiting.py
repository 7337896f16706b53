"""Deadlines of tests grow with the slowness of the machine, and are kept all the same."""

from __future__ import annotations

import os

import pytest

from tests.builders import waiting
from tests.builders.waiting import MAX_SLOWNESS, scaled, slowness, wait_until


@pytest.fixture
def machine(monkeypatch):
    """Set the processor's slowness and the load of a machine with two cores."""

    def pretend(cpu: float, load: float) -> None:
        monkeypatch.setenv("TESTS_CPU_SLOWNESS", str(cpu))
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    return pretend


@pytest.mark.parametrize(
    ("cpu", "load", "factor"),
    [(0.5, 0.1, 1.0), (1.0, 2.0, 1.0), (1.0, 6.0, 3.0), (2.0, 6.0, 6.0), (9.0, 90.0, MAX_SLOWNESS)],
)
def test_a_deadline_is_multiplied_by_speed_and_load(machine, cpu, load, factor):
    machine(cpu, load)
    assert scaled(10) == 10 * factor


def test_the_speed_is_measured_once_for_a_run_and_its_processes(monkeypatch):
    monkeypatch.delenv("TESTS_CPU_SLOWNESS")
    seconds = iter([0.03, 0.02, 0.04, 0.05, 0.06])
    monkeypatch.setattr(waiting, "_fixed_work", lambda: next(seconds))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert slowness() == slowness() == 2.0
    assert os.environ["TESTS_CPU_SLOWNESS"] == "2.000"


def test_waiting_ends_as_soon_as_it_holds():
    answers = iter([False, 0, "yes"])
    wait_until(lambda: next(answers), every_s=0)
    assert list(answers) == []


def test_waiting_gives_up_and_says_what_for(machine):
    machine(1.0, 0.0)
    with pytest.raises(AssertionError, match="the relay: not within 0 s"):
        wait_until(lambda: False, within_s=0, what=lambda: "the relay", every_s=0)


def test_a_machine_that_becomes_busy_gets_more_time(machine):
    """The deadline of an idle machine has gone by at the second look, that of a busy one has not."""
    machine(1.0, 0.0)
    looks = []

    def holds() -> bool:
        looks.append(None)
        machine(1.0, 1e9)
        return len(looks) > 3

    wait_until(holds, within_s=0.05, every_s=0.06)
    assert len(looks) == 4


def test_every_test_has_the_time_limit_of_the_configuration_scaled(request):
    (limit,) = (mark.args[0] for mark in request.node.iter_markers("timeout"))
    configured = float(request.config.getini("timeout"))
    assert configured <= limit <= configured * MAX_SLOWNESS
