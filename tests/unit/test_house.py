"""The house is in order: documents name what exists, and nothing names the machine it was made on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from training.cli import COMMANDS as TRAINING_COMMANDS
from worker.cli import app
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}


def text_of(path: str) -> str:
    return (ROOT / path).read_text()


def commands(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    """`pneumo enqueue`, `pneumo audit verify`, ...: what can be typed."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield " ".join(words)
        return
    for name, sub in inner.items():
        yield from commands(sub, (*words, name))


COMMANDS = sorted(
    {
        *commands(get_command(app), ("pneumo",)),
        *(f"pneumo {command.__name__}" for command in TRAINING_COMMANDS),
    }
)


def test_a_wheel_holds_every_package():
    """An editable install, which the tests run from, would not miss one."""
    told = tomllib.loads(text_of("pyproject.toml"))["tool"]["setuptools"]["packages"]
    there = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("db", "training", "worker")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert there == {name for name in told if not name.startswith("db.migrations")}


def test_the_commands_are_found():
    assert {"pneumo up", "pneumo audit verify", "pneumo model activate"} <= {*COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command):
    documents = text_of("README.md") + text_of("docs/operators.md")
    assert re.search(rf"\b{command}\b", documents), f"{command} stands in no document"


@pytest.mark.parametrize("path", ["README.md", "docs/operators.md"])
def test_documents_name_no_command_that_does_not_exist(path):
    asked = set(re.findall(r"`pneumo(?: --state [^ `]+)? ([a-z]+)", text_of(path)))
    assert asked
    assert asked <= {command.split()[1] for command in COMMANDS}


@pytest.mark.parametrize("variable", sorted(VARIABLES))
def test_every_setting_is_documented(variable):
    assert f"`{variable}`" in text_of("docs/operators.md")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_documented_defaults_are_the_defaults(name):
    row = next(
        line
        for line in text_of("docs/operators.md").splitlines()
        if line.startswith(f"| `{PREFIX}{name.upper()}` |")
    )
    default = Settings.model_fields[name].default
    stated = row.split("|")[2].strip()
    if default in ("", None):
        assert re.match("[A-Za-z`]", stated), "no value: words say what happens then"
        assert stated.strip("`") not in ("None", '""')
    else:
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert stated.strip("`") == shown


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "docs/operators.md",
        "docs/delivery.md",
        "docs/privacy.md",
        "docs/security.md",
        "docker/compose.yaml",
    ],
)
def test_documents_name_no_setting_that_does_not_exist(path):
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]", text_of(path)))
    assert named
    assert named - {Settings.model_fields["stat_ae_title"].default} <= VARIABLES


def test_operators_read_of_no_code_that_does_not_exist():
    """`CRASHED_WORKER` and the like stand in the code, letter by letter."""
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|BUG)`", text_of("docs/operators.md")))
    named = {
        word for word in named if not word.startswith((PREFIX, "POSTGRES_", "LISTEN_", "TLS_"))
    }
    sources = [path for folder in ("worker", "db") for path in (ROOT / folder).rglob("*.py")]
    stated = set(re.findall(r'"([A-Z][A-Z_]+)"', " ".join(p.read_text() for p in sources)))
    assert {"CRASHED_WORKER", "GOLDEN_LOGITS_OFF", "BUG"} <= named
    of_the_broker = set(re.findall(r"\$\{?([A-Z_]+)", text_of("docker/redis/start")))
    assert named <= stated | of_the_broker


def test_compose_runs_commands_that_exist():
    services = yaml.safe_load(text_of("docker/compose.yaml"))["services"].values()
    run = [service["command"] for service in services if "command" in service]
    run += [service.get("healthcheck", {}).get("test", ["CMD"])[1:] for service in services]
    ours = {words[1] for words in run if words and words[0] == "pneumo"}
    assert ours == {"migrate", "listen", "relay", "watch", "health"}
    assert ours <= {command.split()[1] for command in COMMANDS}


def test_the_licence_is_apache():
    licence = text_of("LICENSE")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert project()["license"] == "Apache-2.0"


def test_the_readme_begins_with_what_it_is():
    readme = text_of("README.md")
    for words in ("make demo", "make test", "For research until", "pneumo up", "docker compose"):
        assert words in readme, words


def test_the_lock_pins_every_direct_dependency():
    lines = text_of("requirements.lock").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in pins)
    pinned = {canonicalize_name(pin.name): pin for pin in pins}
    for wanted in direct_dependencies():
        pin = pinned[canonicalize_name(wanted.name)]
        (version,) = (specifier.version for specifier in pin.specifier)
        assert wanted.specifier.contains(version), f"{pin} is not {wanted}"


def test_every_direct_dependency_has_its_reason():
    decisions = text_of("DECISIONS.md")
    for wanted in direct_dependencies():
        assert f"`{wanted.name}`" in decisions, f"{wanted.name} stands without a reason"


def test_nothing_names_a_machine():
    """No absolute path of a workplace, no registry's address: it must run anywhere."""
    found = {
        f"{path}: {match[0]}"
        for path in tracked_texts()
        for match in MACHINE.finditer((ROOT / path).read_text(errors="replace"))
    }
    assert not found


MACHINE = re.compile(
    r"(?<![\w.:/])/(?:work|home|root|Users|mnt|opt/pypi[a-z-]*)/[\w.-]+"
    r"|--(?:extra-)?index-url|p[y]thonhosted|p[y]pi\.(?:python\.)?org"
)


def test_the_search_for_machines_finds_one():
    for words in ("/wo" + "rk/main", "see /ho" + "me/jane/x", "--index" + "-url https://a"):
        assert MACHINE.search(words), words
    assert not MACHINE.search("worker/model, /opt/pneumo/bin, tests/home/file")


def tracked_texts() -> list[str]:
    """Text files under version control; this one spells out what it looks for."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    here = str(Path(__file__).relative_to(ROOT))
    binary = (".safetensors", ".png", ".dcm", ".npz")
    return [
        path
        for path in listed
        if path and path != here and not path.endswith(binary) and (ROOT / path).is_file()
    ]


def project() -> dict[str, Any]:
    return tomllib.loads(text_of("pyproject.toml"))["project"]


def direct_dependencies() -> list[Requirement]:
    stated = project()
    extras = [line for lines in stated["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*stated["dependencies"], *extras]]
