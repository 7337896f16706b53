"""`make soak`: a small steady load on `pneumo up`, and whether anything grows meanwhile."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pynetdicom import AE
from rich.console import Console
from rich.table import Table

from db.engine.session import Database
from tests.builders.database import one
from tests.builders.dicom import make_instance
from tests.builders.installation import ROOT
from tests.builders.pacs import Pacs
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from tests.soak.slopes import Judgement, Tolerance, judge
from worker.listener.storage_scp import echo
from worker.settings import Settings, read_settings

UID = "1.2.826.0.1.3680043.8.498.4"
TOLERANCES = {
    "memory MB": Tolerance(absolute=20, relative=0.03),
    "handles": Tolerance(absolute=5, relative=0.1),
    "threads": Tolerance(absolute=3, relative=0.1),
    "temporary files": Tolerance(absolute=3, relative=0),
    "oldest open study s": Tolerance(absolute=5, relative=0.5),
    "oldest open delivery s": Tolerance(absolute=5, relative=0.5),
}
OLDEST = {
    "oldest open study s": "SELECT min(received_at) FROM study WHERE state NOT IN"
    " ('done', 'parked')",
    "oldest open delivery s": "SELECT min(created_at) FROM result_delivery WHERE state NOT IN"
    " ('sent', 'committed', 'parked')",
}


def main() -> int:
    """Run, sample, judge; 1 if something grows or a study has no result."""
    parser = argparse.ArgumentParser(
        description="Let an installation work, and see whether it grows."
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=3, help="seconds between two studies")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pneumo-soak-") as folder:
        samples, sent, finished = soak(Path(folder), options.minutes * 60, options.every)
    found = [
        judge(name, *zip(*series, strict=True), TOLERANCES[name.split(": ")[-1]])
        for name, series in samples.items()
    ]
    Console().print(table_of(found))
    print(f"{sent} studies sent, {finished} with a result")
    return 1 if finished != sent or any(judgement.grows for judgement in found) else 0


def soak(
    folder: Path, duration_s: float, every_s: float
) -> tuple[dict[str, list[tuple[float, float]]], int, int]:
    """Send a study each `every_s`; return samples by quantity, studies sent, studies finished."""
    samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
    pacs = Pacs().start()
    (folder / "temporary").mkdir()
    (folder / "peers.toml").write_text(pacs.table())
    settings = settings_in(folder)
    with running(settings, folder) as process:
        database, sent, begun = Database(settings.database_url), 0, time.monotonic()
        next_sample = begun
        while (now := time.monotonic()) - begun < duration_s:
            send(settings, sent)
            sent += 1
            pacs.received.clear()
            if now >= next_sample:
                for name, value in measure(process, settings, folder, database):
                    samples[name].append((now - begun, value))
                next_sample = now + max(1.0, duration_s / 300)
            time.sleep(max(0.0, now + every_s - time.monotonic()))
        done = "SELECT count(*) FROM study WHERE state = 'done'"
        wait_until(lambda: one(database, done) == sent, within_s=120, what="all studies finished")
        finished = int(str(one(database, done)))
        database.dispose()
    pacs.stop()
    return samples, sent, finished


def settings_in(folder: Path) -> Settings:
    """Return the settings of an installation as a small site has it, on free ports."""
    return read_settings(
        state_dir=folder / "state",
        peers=folder / "peers.toml",
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        listen_port=free_port(),
        idle_window_s=1.0,
        wrong_images="warn",  # the pictures are drawn
        shadow=False,
        disk_warn_free="0%",
        disk_refuse_free="100MB",
    )


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[psutil.Process]:
    """Run `pneumo up` with temporary files in a folder of its own."""
    with (folder / "up.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up", "-c", "2"],
            cwd=ROOT,
            env={**os.environ, **settings.as_environment(), "TMPDIR": str(folder / "temporary")},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: "pneumo is up" in (folder / "up.log").read_text() and echo(settings),
            within_s=150,
            what=(folder / "up.log").read_text,
        )
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=scaled(120))


def send(settings: Settings, number: int) -> None:
    """Send one study by C-STORE."""
    dataset = make_instance(
        seed=number % 5,
        study_instance_uid=f"{UID}.{number}",
        series_instance_uid=f"{UID}.{number}.1",
        sop_instance_uid=f"{UID}.{number}.2",
    )
    unit = AE(ae_title="SOAK")
    unit.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    opened = unit.associate("127.0.0.1", settings.listen_port, ae_title="PNEUMO")
    assert opened.is_established
    status = opened.send_c_store(dataset)
    opened.release()
    assert status.Status == 0x0000, status


def measure(
    process: psutil.Process, settings: Settings, folder: Path, database: Database
) -> Iterator[tuple[str, float]]:
    """Yield each quantity now, those of a process by its part."""
    for child in [process, *process.children()]:
        name = part_of(child.cmdline())
        yield f"{name}: memory MB", child.memory_info().rss / 1e6
        yield f"{name}: handles", child.num_fds()
        yield f"{name}: threads", child.num_threads()
    places = (folder / "temporary", settings.intake_dir / "incoming")
    yield "temporary files", sum(1 for place in places for _ in place.rglob("*"))
    for name, sql in OLDEST.items():
        oldest = one(database, f"SELECT strftime('%s', 'now') - strftime('%s', ({sql}))")
        yield name, float(str(oldest or 0))


def part_of(command: list[str]) -> str:
    """Return the part's name by its command line."""
    text = " ".join(command)
    names = {"valkey": "broker", "suspect": "suspect", "-Q delivery": "delivery", "-Q stat": "worker",
             " relay": "relay", " listen": "listener"}  # fmt: skip
    return next((name for words, name in names.items() if words in text), "supervisor")


def table_of(found: list[Judgement]) -> Table:
    """Return the table that a person reads."""
    table = Table("quantity", "begins", "ends", "grew by", "allowed", "")
    for item in found:
        figures = (item.begins, item.ends, item.grown, item.allowed)
        table.add_row(
            item.name, *(f"{figure:.1f}" for figure in figures), "GROWS" if item.grows else "steady"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
