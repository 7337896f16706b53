"""One test's site: settings, database, intake folder, listeners on loopback, and real senders."""

from __future__ import annotations

import io
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from sqlalchemy import text

from db.engine.session import Database
from db.ledger.conditions import active_conditions
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from worker.listener.storage_scp import Listener, echo, start_listener
from worker.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Site:
    """Settings, database and intake folder of one test, and what to ask them."""

    settings: Settings
    database: Database
    started: list[Listener | subprocess.Popen] = field(default_factory=list)

    def listen(self) -> Listener:
        """A listener in threads of the test's own process."""
        listener = start_listener(self.settings, self.database)
        self.started.append(listener)
        return listener

    def start(self, *command: str, log: Path) -> subprocess.Popen:
        """`python -m ...` with this site's settings; what it says goes to `log`."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**os.environ, **self.settings.as_environment()},
                stdout=out,
                stderr=out,
            )
        self.started.append(process)
        return process

    def listen_apart(self, log: Path = Path(os.devnull)) -> subprocess.Popen:
        """`pneumo listen` as a process that a test may kill; returns when it answers."""
        process = self.start("worker.cli", "listen", log=log)
        wait_until(lambda: process.poll() is not None or echo(self.settings), within_s=60)
        assert process.poll() is None, log.read_text()
        return process

    def close(self) -> None:
        for running in self.started:
            if isinstance(running, Listener):
                if running.ae._servers:
                    # It waits for its server's poll, up to half a second; the next test need not.
                    threading.Thread(target=running.close, kwargs={"grace_s": 0}).start()
            elif running.poll() is None:
                running.send_signal(signal.SIGKILL)
                running.wait()
        self.database.dispose()

    def rows(self, sql: str, **values: object) -> list[tuple]:
        """What the database answers to plain SQL."""
        with self.database.reading() as session:
            return [tuple(row) for row in session.execute(text(sql), values)]

    def one(self, sql: str, **values: object) -> object:
        ((value,),) = self.rows(sql, **values)
        return value

    def active_conditions(self) -> dict[str, tuple[str, int]]:
        """Subject -> code and how often it was noted, of every condition that holds."""
        with self.database.reading() as session:
            return {c.subject: (c.code, c.times) for c in active_conditions(session)}

    def stored_files(self) -> list[Path]:
        """Every file of the intake folder, those half written included."""
        folder = self.settings.intake_dir
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def file_of(self, sop_instance_uid: str) -> bytes:
        """The kept bytes of an instance."""
        name = self.one(
            "SELECT file_name FROM instance WHERE sop_instance_uid = :uid", uid=sop_instance_uid
        )
        return (self.settings.intake_dir / str(name)).read_bytes()

    @contextmanager
    def association(
        self,
        *contexts,
        called: str = "PNEUMO",
        calling: str = "SENDER",
        timeout_s: float = 30,
        tls: ssl.SSLContext | None = None,
    ):
        """An open association that proposes these (SOP class, transfer syntax)."""
        unit = AE(ae_title=calling)
        unit.dimse_timeout = scaled(
            timeout_s
        )  # pynetdicom waits so long even for a process that died
        for sop_class, syntax in contexts:
            unit.add_requested_context(sop_class, syntax)
        opened = unit.associate(
            "127.0.0.1",
            self.settings.listen_port,
            ae_title=called,
            tls_args=(tls, "127.0.0.1") if tls else None,
        )
        assert opened.is_established
        yield opened
        if opened.is_established:
            opened.release()
        if opened.dul.socket.socket is not None:  # pynetdicom leaves it open when the peer died
            opened.dul.socket.socket.close()

    def send(self, *datasets: Dataset, priority: int = 0, **titles: str) -> list[Dataset]:
        """C-STORE each over one association; the statuses that came back."""
        contexts = dict.fromkeys((d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets)
        with self.association(*contexts, **titles) as opened:
            return [opened.send_c_store(dataset, priority=priority) for dataset in datasets]


def make_site(folder: Path, migrated: Path) -> Site:
    """A site with a copy of a migrated database."""
    (folder / "database").mkdir(parents=True)
    path = shutil.copy(migrated, folder / "database" / "pneumo.sqlite")
    settings = read_settings(
        state_dir=folder / "site",
        database_url=f"sqlite:///{path}",
        listen_port=free_port(),
        idle_window_s=60,
        log_level="DEBUG",
    )
    return Site(settings, Database(settings.database_url))


def store_file(association: Association, path: Path) -> Dataset:
    """C-STORE a file's data set byte for byte, whatever it holds (pynetdicom's chunked sending)."""
    before = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        return association.send_c_store(path)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before


def write_with_other_meta(
    path: Path,
    dataset: Dataset,
    *,
    syntax: str | None = None,
    sop_class: str | None = None,
    sop_instance: str | None = None,
) -> Path:
    """A file whose meta, and so the request that sends it, may say other things than its data set."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    meta = create_file_meta(
        sop_class_uid=UID(sop_class or dataset.SOPClassUID),
        sop_instance_uid=UID(sop_instance or dataset.SOPInstanceUID),
        transfer_syntax=UID(syntax or dataset.file_meta.TransferSyntaxUID),
    )
    head = b"\0" * 128 + b"DICM" + encode_file_meta(meta)
    path.write_bytes(head + data_set_of(buffer.getvalue()))
    return path


def data_set_of(file: bytes) -> bytes:
    """The bytes after the file meta, whose length its first element says (PS3.10 7.1)."""
    assert file[128:132] == b"DICM"
    assert file[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    return file[144 + int.from_bytes(file[140:144], "little") :]
