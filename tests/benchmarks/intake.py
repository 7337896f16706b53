"""The listener beside dcmtk's storescp: the same files, the same senders, in turns of one run.

storescp answers when the file is written but not flushed to the disk, and knows no database; it has
no option for either ("then flushed" is what it would come to if all files were flushed together at
the end). Ours answers after fsync, rename, fsync of the folder and a commit. It is run
as fast as it goes: a process for each association, longest PDUs, data sets written as read.

And: what 25 associations with 60 MB each under way cost in memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless
from rich.console import Console
from rich.table import Table

from db.engine.migrate import upgrade
from db.engine.session import Database
from tests.builders.dicom import chest_like_pixels, write_instance
from tests.builders.ports import free_port
from tests.builders.site import Site
from tests.builders.slow_sender import half_sent_requests, peak_memory
from tests.builders.waiting import wait_until
from worker.settings import read_settings

SENDERS = 4
EACH = 8
"""Files of a sender."""
TURNS = 5
KINDS = {
    "15 MB, uncompressed": (3000, 2500, ExplicitVRLittleEndian),
    "JPEG 2000 lossless": (2500, 2000, JPEG2000Lossless),
}
"""Rows, columns and transfer syntax."""


def main() -> None:
    """Print a table of rates and a line about memory."""
    if shutil.which("storescp") is None:
        Console().print("The intake benchmark needs Debian's dcmtk.")
        return
    table = Table(title=f"{SENDERS} x dcmsend, {EACH} files each: MB/s taken over")
    for heading in ("files", "storescp", "then flushed", "pneumo", "pneumo : storescp"):
        table.add_column(heading, justify="left" if heading == "files" else "right")
    with tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder:
        for name, (rows, columns, syntax) in KINDS.items():
            files = Path(folder) / "files"
            megabytes = write_files(files, rows, columns, syntax)
            turns = [
                (
                    *rates_of(storescp, files, megabytes),
                    rates_of(pneumo, files, megabytes)[0],
                )
                for _ in range(TURNS)
            ]
            theirs, flushed, ours = (median(column) for column in zip(*turns, strict=True))
            ratio = median(ours / theirs for theirs, _, ours in turns)
            table.add_row(
                name, *(f"{rate:.0f}" for rate in (theirs, flushed, ours)), f"{ratio:.2f}"
            )
            shutil.rmtree(files)
    Console().print(table)
    print_memory(senders=25, megabytes=60)


def write_files(folder: Path, rows: int, columns: int, syntax: UID) -> float:
    """A folder for each sender; returns megabytes in all."""
    template = chest_like_pixels(rows, columns)
    for sender in range(SENDERS):
        (folder / str(sender)).mkdir(parents=True)
        for number in range(EACH):
            uid = f"1.2.3.{sender + 1}.{number + 1}"
            write_instance(
                folder / str(sender) / f"{number}.dcm",
                pixels=template,
                sop_instance_uid=uid,
                study_instance_uid=uid,
                transfer_syntax=syntax,
            )
    return sum(file.stat().st_size for file in folder.rglob("*.dcm")) / 1e6


Receiver = Callable[[Path], AbstractContextManager[int]]


def rates_of(receiver: Receiver, files: Path, megabytes: float) -> tuple[float, float]:
    """Megabytes per second while all senders send at once; and if all is flushed after that."""
    with (
        tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder,
        receiver(Path(folder)) as port,
    ):
        started = time.perf_counter()
        senders = [
            subprocess.Popen(
                ["dcmsend", "-dn", "-aec", "PNEUMO", "+sd", "127.0.0.1", str(port), str(each)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for each in sorted(files.iterdir())
        ]
        assert [sender.wait() for sender in senders] == [0] * SENDERS
        sent = time.perf_counter() - started
        for file in Path(folder).rglob("*"):
            if file.is_file():
                flush(file)
        return megabytes / sent, megabytes / (time.perf_counter() - started)


def flush(file: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """dcmtk's receiver; yields its port."""
    port = free_port()
    options = ["--fork", "-pdu", "131072", "+xa", "+B", "-od", str(folder), "-aet", "PNEUMO"]
    process = subprocess.Popen(["storescp", *options, str(port)], stdout=subprocess.DEVNULL)
    try:
        echo = ["echoscu", "127.0.0.1", str(port)]
        wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def pneumo(folder: Path) -> Iterator[int]:
    """Our listener with a database of its own; yields its port."""
    with listening(folder) as (site, _):
        yield site.settings.listen_port


@contextmanager
def listening(folder: Path) -> Iterator[tuple[Site, subprocess.Popen]]:
    """A site whose listener runs as a process."""
    url = f"sqlite:///{folder}/pneumo.sqlite"
    upgrade(url)
    settings = read_settings(state_dir=folder / "site", database_url=url, listen_port=free_port())
    site = Site(settings, Database(url))
    try:
        yield site, site.listen_apart()
    finally:
        site.close()


def print_memory(*, senders: int, megabytes: int) -> None:
    """The listener's largest memory, when of every instance all but the end has arrived."""
    with (
        tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder,
        listening(Path(folder)) as (site, process),
    ):
        idle = peak_memory(process.pid)
        with half_sent_requests(
            site, senders=senders, instance_bytes=megabytes * 1_000_000
        ) as requests:
            assert {request.finish() for request in requests} == {0}
        Console().print(
            f"{senders} associations with {megabytes} MB each under way at once: the listener's "
            f"largest memory was {peak_memory(process.pid) / 1e6:.0f} MB "
            f"({idle / 1e6:.0f} MB before)."
        )


if __name__ == "__main__":
    main()
