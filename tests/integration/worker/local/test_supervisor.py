"""Real processes: restarted when they die, ended in order, never left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.database import rows
from tests.builders.deliveries import activate_destinations
from tests.builders.installation import ROOT
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from worker.errors import Rejected, Resource, Transient
from worker.local import installation
from worker.local import supervisor as supervisor_module
from worker.local.broker import broker_process_spec, is_embedded, is_reachable, port_of
from worker.local.exclusive import locked, require_free_ports
from worker.local.installation import prepare
from worker.local.supervisor import ProcessSpec, Supervisor, restart_delay_s
from worker.messaging.broker_address import broker_address, password_file
from worker.settings import read_settings


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


SLEEP = python("import time; time.sleep(600)")


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(log_dir=tmp_path, environment={"COLOUR": "green"}) as supervisor:
        yield supervisor


@pytest.fixture
def now(monkeypatch):
    """The supervisor's clock, which stands still: pauses are exact however busy the machine is."""
    frozen = SimpleNamespace(monotonic=lambda: 1000.0, sleep=time.sleep)
    monkeypatch.setattr(supervisor_module, "time", frozen)
    return frozen.monotonic


def test_a_part_runs_with_its_environment_and_its_log(supervisor, tmp_path):
    supervisor.start(
        ProcessSpec(name="speaker", command=python("import os; print(os.environ['COLOUR'])"))
    )
    wait_until(lambda: (tmp_path / "speaker.log").read_text() == "green\n")
    assert supervisor.last_line("speaker") == "green"


def test_a_part_takes_no_setting_from_anywhere_but_its_site(supervisor, tmp_path, monkeypatch):
    """A setting that the settings leaves out would come from the shell: another settings's, at worst."""
    monkeypatch.setenv("PNEUMO_PEERS", "/etc/pneumo/peers.toml")
    monkeypatch.setenv("pneumo_watch_folder", "/srv/incoming")
    supervisor.environment = {"PNEUMO_LISTEN_PORT": "104"}
    said = "import os; print(*sorted(n for n in os.environ if n.upper().startswith('PNEUMO_')))"
    supervisor.start(ProcessSpec(name="speaker", command=python(said)))
    wait_until(lambda: (tmp_path / "speaker.log").read_text() == "PNEUMO_LISTEN_PORT\n")


def test_a_killed_part_is_started_again_at_once(supervisor):
    supervisor.start(ProcessSpec(name="sleeper", command=SLEEP))
    child = supervisor.children["sleeper"]
    first = child.process.pid
    child.process.kill()
    child.process.wait()
    supervisor.check_children()
    assert child.process.pid != first
    assert child.process.poll() is None
    assert (child.deaths, child.due) == (1, None)


def test_a_part_that_keeps_dying_waits_longer_each_time(supervisor, now):
    supervisor.start(ProcessSpec(name="dying", command=python("raise SystemExit(3)")))
    child = supervisor.children["dying"]
    pauses = []
    for _ in range(4):
        child.process.wait()
        supervisor._note_death(child)
        pauses.append(child.due - now())
        child.process = supervisor._launch(child.part)
    assert pauses == [0, 1, 3, 7]
    assert supervisor.crash_looping() is child


def test_a_part_whose_purpose_is_to_die_comes_back_without_a_pause(supervisor, now):
    crash = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    part = ProcessSpec(name="suspect", command=crash, is_expected_to_exit=True)
    supervisor.start(part)
    child = supervisor.children["suspect"]
    for _ in range(4):
        child.process.wait()
        supervisor._note_death(child)
        assert child.due == now()
        child.process = supervisor._launch(part)
    assert supervisor.crash_looping() is None


def test_a_suspect_worker_that_cannot_start_is_like_any_other_part(supervisor, now):
    part = ProcessSpec(
        name="suspect", command=python("raise SystemExit(78)"), is_expected_to_exit=True
    )
    supervisor.start(part)
    child = supervisor.children["suspect"]
    for _ in range(3):
        child.process.wait()
        supervisor._note_death(child)
    assert child.due - now() == 3
    assert supervisor.crash_looping() is child


@pytest.mark.parametrize(
    ("deaths", "pause"), [(1, 0), (2, 1), (3, 3), (5, 15), (6, 30), (1025, 30), (10**6, 30)]
)
def test_the_pause_grows_to_a_limit_however_long_a_part_keeps_dying(deaths, pause):
    assert restart_delay_s(deaths) == pause


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "The part ended with code 3 and is restarted at once."),
        (
            "import os; os.kill(os.getpid(), 9)",
            "The part was killed by signal 9 and is restarted at once.",
        ),
    ],
)
def test_a_death_is_told_in_a_sentence(tmp_path, code, words):
    told: list[str] = []
    with Supervisor(log_dir=tmp_path, environment={}, on_death=told.append) as supervisor:
        supervisor.start(ProcessSpec(name="part", command=python(code)))
        supervisor.children["part"].process.wait()
        supervisor.check_children()
    assert told == [words]


def test_parts_end_last_started_first_and_a_deaf_one_is_killed(tmp_path):
    note = "import signal, sys, time, pathlib\n"
    say = "open({log!r}, 'a').write({name!r} + '\\n')"
    log = str(tmp_path / "order")
    obedient = (
        note
        + "signal.signal(signal.SIGTERM, lambda *_: ("
        + say
        + ", sys.exit(0)))\npathlib.Path({ready!r}).touch()\ntime.sleep(600)"
    )
    deaf = (
        note
        + "signal.signal(signal.SIGTERM, lambda *_: "
        + say
        + ")\npathlib.Path({ready!r}).touch()\nwhile True: time.sleep(600)"
    )
    supervisor = Supervisor(log_dir=tmp_path, environment={})
    for name, code in (("first", obedient), ("second", deaf), ("third", obedient)):
        ready = str(tmp_path / f"{name}.ready")
        command = python(code.format(log=log, name=name, ready=ready))
        supervisor.start(ProcessSpec(name=name, command=command, grace_s=0.5))
        wait_until(Path(ready).exists)
    processes = [child.process for child in supervisor.children.values()]

    supervisor.close()

    assert Path(log).read_text().split() == ["third", "second", "first"]
    assert [p.returncode for p in processes] == [0, -signal.SIGKILL, 0]


def test_children_die_with_a_supervisor_that_is_killed(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from worker.local.supervisor import ProcessSpec, Supervisor
s = Supervisor(log_dir=Path({str(tmp_path)!r}), environment={{}})
s.start(ProcessSpec(name="child", command=(sys.executable, "-c", "import time; time.sleep(600)")))
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_until(lambda: psutil.Process(parent.pid).children())
    (child,) = psutil.Process(parent.pid).children()
    wait_until(lambda: child.cmdline()[-1].endswith("sleep(600)") and "-c" in child.cmdline())
    time.sleep(0.3)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([child], timeout=scaled(10))
    assert not child.is_running()


@pytest.fixture
def settings(tmp_path):
    return read_settings(
        state_dir=tmp_path / "settings",
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        listen_port=free_port(),
    )


def test_the_embedded_broker_remembers_over_a_restart(settings, tmp_path):
    import redis

    assert is_embedded(settings)
    for expected in (None, b"kept"):
        with Supervisor(log_dir=tmp_path, environment={}) as supervisor:
            supervisor.start(broker_process_spec(settings))
            wait_until(lambda: is_reachable(settings))
            with redis.Redis.from_url(broker_address(settings)) as client:
                assert client.get("word") == expected
                client.set("word", "kept")
                time.sleep(1.1)  # appendfsync everysec
    assert not is_reachable(settings)


def test_the_embedded_broker_has_a_password_that_nobody_else_sees(settings, supervisor, tmp_path):
    import redis

    specification = broker_process_spec(settings)
    supervisor.start(specification)
    wait_until(lambda: is_reachable(settings))
    password = password_file(settings).read_text()
    assert len(password) == 64
    assert broker_process_spec(settings) == specification, "made once"
    assert password_file(settings).read_text() == password
    with (
        redis.Redis(port=port_of(settings)) as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()

    folder = password_file(settings).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = (password_file(settings), folder / "valkey.conf")
    assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}
    assert password not in " ".join(
        psutil.Process(supervisor.children["broker"].process.pid).cmdline()
    )
    assert password not in " ".join(settings.as_environment().values())
    assert not any(password in log.read_text() for log in tmp_path.rglob("*.log"))


@pytest.mark.parametrize(
    "url",
    [
        "rediss://broker.example:6379/0",
        "redis://broker.example:6379/0",
        "redis://:secret@127.0.0.1:6379/0",
        "redis://[::1]:6379/0",
    ],
)
def test_a_broker_that_somebody_else_set_up_is_not_ours_to_run(tmp_path, url):
    assert not is_embedded(read_settings(state_dir=tmp_path, broker_url=url))


def test_a_broker_elsewhere_that_does_not_answer_is_said_so(tmp_path, supervisor, monkeypatch):
    monkeypatch.setattr(installation, "READY_TIMEOUT_S", 0.1)
    settings = read_settings(state_dir=tmp_path, broker_url=f"redis://:x@127.0.0.1:{free_port()}/0")
    upgrade(settings.database_url)
    with pytest.raises(
        Transient, match="No broker answers, and this installation does not run its own"
    ):
        installation.wait_until_ready(settings, supervisor)


def test_a_part_that_cannot_start_is_named_with_the_end_of_its_log(settings, supervisor):
    settings.state_dir.mkdir()
    upgrade(settings.database_url)
    leave = python("print('out of paper'); raise SystemExit(78)")
    supervisor.start(broker_process_spec(settings))
    supervisor.start(ProcessSpec(name="worker", command=leave))
    words = "The worker does not start; its log ends with: out of paper"
    with pytest.raises(Transient, match=words):
        installation.wait_until_ready(settings, supervisor)


def test_a_state_folder_that_cannot_be_made_is_said_so():
    settings = read_settings(state_dir="/proc/pneumo")
    words = "The state folder /proc/pneumo cannot be written"
    with pytest.raises(Resource, match=words), locked(settings):
        pass


def test_two_installations_in_one_folder_are_refused(settings):
    with (
        locked(settings),
        pytest.raises(Rejected, match="already running in this state folder"),
        locked(settings),
    ):
        pass


def test_an_installation_without_a_file_of_peers_switches_nothing_off(settings):
    settings.state_dir.mkdir(parents=True)
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    activate_destinations(database, "archive")
    prepare(settings.model_copy(update={"peers": None}))
    active = "SELECT name FROM result_destination WHERE is_active"
    assert rows(database, active) == [("archive",)]
    database.dispose()


@pytest.mark.parametrize(
    "names", [["PNEUMO_LISTEN_PORT"], ["PNEUMO_LISTEN_PORT", "PNEUMO_BROKER_URL"]]
)
def test_every_taken_port_is_named_at_once_with_its_variable(settings, names):
    ports = {"PNEUMO_LISTEN_PORT": settings.listen_port, "PNEUMO_BROKER_URL": port_of(settings)}
    require_free_ports(settings)
    with ExitStack() as others:
        for name in names:
            other = others.enter_context(socket.socket())
            other.bind(("127.0.0.1", ports[name]))
            other.listen()
        taken = " and port ".join(f"{ports[name]} ({name})" for name in names)
        with pytest.raises(Resource, match=re.escape(f"is using port {taken}. Stop it")):
            require_free_ports(settings)
