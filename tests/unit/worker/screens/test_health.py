"""Health is asked of the same files and the same port that living parts use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from db.engine.session import Database
from worker.cli import app
from worker.errors import Rejected
from worker.listener.storage_scp import start_listener
from worker.pipeline.heartbeat import alive_file as worker_file
from worker.relay.relay import alive_file as relay_file
from worker.screens.health import RELAY_MAX_AGE_S, WORKER_MAX_AGE_S, check
from worker.settings import Settings, current_settings


@pytest.fixture
def settings(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(state_dir=tmp_path, listen_port=port)


def touch(file, *, seconds_ago: float = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    then = time.time() - seconds_ago
    os.utime(file, (then, then))


def file_of(part, settings):
    return (
        relay_file(settings)
        if part == "relay"
        else worker_file(settings.alive_dir, "w-0123456789ab")
    )


@pytest.mark.parametrize("part", ["worker", "relay"])
def test_a_part_that_never_lived_is_not_healthy(part, settings):
    health = check(part, settings)
    assert not health.healthy
    assert health.sentence == f"No {part} has given a sign of life here."


@pytest.mark.parametrize(
    ("part", "seconds_ago", "healthy"),
    [
        ("worker", 0, True),
        ("worker", WORKER_MAX_AGE_S - 5, True),
        ("worker", WORKER_MAX_AGE_S + 5, False),
        ("relay", 0, True),
        ("relay", RELAY_MAX_AGE_S - 5, True),
        ("relay", RELAY_MAX_AGE_S + 5, False),
    ],
)
def test_a_sign_of_life_counts_while_it_is_fresh(part, seconds_ago, healthy, settings):
    touch(file_of(part, settings), seconds_ago=seconds_ago)
    health = check(part, settings)
    assert health.healthy is healthy
    assert f"{seconds_ago:.0f} s old" in health.sentence


def test_of_several_workers_the_freshest_speaks(settings):
    touch(worker_file(settings.alive_dir, "w-dead"), seconds_ago=3600)
    touch(worker_file(settings.alive_dir, "w-live"))
    assert check("worker", settings).healthy


def test_a_living_relay_does_not_speak_for_a_worker(settings):
    touch(relay_file(settings))
    assert not check("worker", settings).healthy


def test_signs_of_life_are_looked_for_where_they_are_left(settings, tmp_path):
    apart = Settings(state_dir=settings.state_dir, run_dir=tmp_path / "apart")
    touch(relay_file(apart))
    assert check("relay", apart).healthy
    assert not check("relay", settings).healthy


def test_a_listener_is_healthy_while_it_answers_an_echo(settings):
    database = Database(settings.database_url)
    assert not check("listener", settings).healthy
    listener = start_listener(settings, database)
    try:
        health = check("listener", settings)
        assert health.healthy
        assert "answers C-ECHO" in health.sentence
    finally:
        listener.close(grace_s=0)
        database.dispose()
    assert "does not answer" in check("listener", settings).sentence


def test_an_unknown_part_is_refused_with_those_that_are_known(settings):
    with pytest.raises(Rejected, match="worker, relay, listener") as refused:
        check("kettle", settings)
    assert refused.value.code == "UNKNOWN_PART"


def test_the_exit_code_is_what_a_container_asks_for(settings, monkeypatch):
    monkeypatch.setenv("PNEUMO_STATE_DIR", str(settings.state_dir))
    current_settings.cache_clear()
    run = CliRunner().invoke
    try:
        assert run(app, ["health", "relay"]).exit_code == 1
        touch(relay_file(settings))
        assert run(app, ["health", "relay"]).exit_code == 0
    finally:
        current_settings.cache_clear()


def test_asking_loads_no_network():
    """Asked every few seconds on a GPU node: torch alone would take seconds of its cores."""
    code = (
        "import sys, worker.cli, worker.screens.health, worker.listener.storage_scp, "
        "worker.relay.relay; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
