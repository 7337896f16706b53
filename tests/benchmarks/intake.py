"""The listener beside dcmtk's storescp: the same files, the same senders, in turns of one run.

storescp answers when the file is written but not flushed to the disk, and knows no database; it has
no option for either. Ours answers after fsync, rename, fsync of the folder and a commit. It is run
as fast as it goes: a process for each association, longest PDUs, data sets written as read.

And: what 25 associations with 60 MB each under way cost in memory.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from pydicom.uid import JPEG2000Lossless
from rich.console import Console
from rich.table import Table

from db.migrate import upgrade
from db.session import Database
from tests.builders import chest_like_pixels, write_instance
from tests.integration.intake.sites import Site, free_port, wait_until
from tests.integration.intake.slow_sender import half_sent, peak_memory
from worker.settings import read_settings

SENDERS = 4
EACH = 8
"""Files of a sender."""
TURNS = 5
SIZES = {"15 MB, uncompressed": (3000, 2500, None), "some MB, JPEG 2000": (2000, 1700, "j2k")}
"""Rows, columns and encoding."""


def main() -> None:
    """Print a table of rates and a line about memory."""
    if shutil.which("storescp") is None:
        Console().print("The intake benchmark needs Debian's dcmtk.")
        return
    table = Table(title=f"{SENDERS} x storescu, {EACH} files each: MB/s taken over")
    for heading in ("files", "storescp", "pneumo", "ratio (median of turns)"):
        table.add_column(heading, justify="left" if heading == "files" else "right")
    with tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder:
        for name, (rows, columns, encoding) in SIZES.items():
            files = Path(folder) / name.replace(" ", "-")
            megabytes = write_files(files, rows, columns, compressed=encoding is not None)
            turns = [
                (rate_of(storescp, files, megabytes), rate_of(pneumo, files, megabytes))
                for _ in range(TURNS)
            ]
            theirs, ours = (median(column) for column in zip(*turns, strict=True))
            ratio = median(ours / theirs for theirs, ours in turns)
            table.add_row(name, f"{theirs:.0f}", f"{ours:.0f}", f"{ratio:.2f}")
            shutil.rmtree(files)
    Console().print(table)
    print_memory(senders=25, megabytes=60)


def write_files(folder: Path, rows: int, columns: int, *, compressed: bool) -> float:
    """A folder for each sender; returns megabytes in all."""
    syntax = {"transfer_syntax": JPEG2000Lossless} if compressed else {}
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
                **syntax,
            )
    return sum(file.stat().st_size for file in folder.rglob("*.dcm")) / 1e6


Receiver = Callable[[Path], "contextmanager[int]"]


def rate_of(receiver: Receiver, files: Path, megabytes: float) -> float:
    """Megabytes per second while all senders send at once."""
    with tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder, receiver(
        Path(folder)
    ) as port:
        started = time.perf_counter()
        senders = [
            subprocess.Popen(
                ["storescu", "-xw", "-aec", "PNEUMO", "+sd", "127.0.0.1", str(port), str(each)]
                if False
                else ["dcmsend", "-dn", "-aec", "PNEUMO", "+sd", "127.0.0.1", str(port), str(each)],
                stdout=subprocess.DEVNULL,
            )
            for each in sorted(files.iterdir())
        ]
        assert [sender.wait() for sender in senders] == [0] * SENDERS
        return megabytes / (time.perf_counter() - started)


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """dcmtk's receiver; yields its port."""
    port = free_port()
    options = ["--fork", "-pdu", "131072", "+xa", "+B", "-od", str(folder), "-aet", "PNEUMO"]
    process = subprocess.Popen(["storescp", *options, str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: subprocess.run(["echoscu", "127.0.0.1", str(port)],
            stderr=subprocess.DEVNULL, check=False).returncode == 0)
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
    with tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder, listening(
        Path(folder)
    ) as (site, process):
        idle = peak_memory(process.pid)
        with half_sent(site, senders=senders, instance_bytes=megabytes * 1_000_000) as requests:
            assert {request.finish() for request in requests} == {0}
        Console().print(
            f"{senders} associations with {megabytes} MB each under way at once: the listener's "
            f"largest memory was {peak_memory(process.pid) / 1e6:.0f} MB "
            f"({idle / 1e6:.0f} MB before)."
        )


if __name__ == "__main__":
    main()
