"""`pneumo demo`: send real studies over a real association through real processes, and check the results."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from pynetdicom import AE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from db.engine.session import Database
from db.ledger.audit import verify_chains
from db.studies.overview import find_study, study_detail
from db.vocabulary.enums import Priority
from worker.demo.checks import SentStudy, check_no_restarts, run_checks
from worker.demo.studies import DemoStudy, demo_studies
from worker.demo.table import results_table, show_checks, show_locations
from worker.errors import Rejected, Transient
from worker.intake.accept import wait_for_studies
from worker.local.exclusive import locked, require_free_ports
from worker.local.installation import prepare, process_specs, wait_until_ready
from worker.local.supervisor import Supervisor
from worker.logging import configure_logging
from worker.screens.console import opened, wide_console
from worker.settings import Settings, read_settings

FOLDER = Path("demo-state")
MARKER = ".pneumo-demo"
"""File in a demo's state folder; a folder without it is not removed."""
DEMO_DEFAULTS: dict[str, object] = {
    # Whatever is empty by default: archives, destinations, the watched folder, certificates.
    **{name: None for name, field in Settings.model_fields.items() if field.default is None},
    "database_url": "",
    "listen_host": "127.0.0.1",
    "listen_tls": "off",
    "calling_ae_titles": "",
    "called_ae_titles": "",
}
"""A demo in a hospital's shell sends nothing to the hospital's systems and receives nothing from them."""
WAIT_S = 120.0
"""Longest wait for the results, in seconds."""
C_STORE_PRIORITY = {Priority.STAT: 1, Priority.ROUTINE: 0}
"""HIGH and MEDIUM (PS3.7 9.3.1.1)."""


def run_demo(console: Console | None = None) -> int:
    """Run everything in `demo-state`; return 0 if every check holds, else 1."""
    console = console or wide_console()
    configure_logging("ERROR", "text")  # the terminal is for the table
    started = time.monotonic()
    settings = demo_settings(FOLDER)
    died: list[str] = []
    with locked(settings), opened(settings) as database:
        with console.status("preparing the database and the model"):
            require_free_ports(settings)
            prepare(settings)
            studies = demo_studies()
        supervisor = Supervisor(
            log_dir=settings.log_dir, environment=settings.as_environment(), on_death=died.append
        )
        with supervisor:
            for part in process_specs(settings, concurrency=4, suspect=False):
                supervisor.start(part)
            with console.status("starting broker, worker (stock celery), relay and listener"):
                wait_until_ready(settings, supervisor)
            send(studies, settings, console)
            sent = collect_results(studies, database, supervisor, console)
        with database.reading() as session:
            audit = verify_chains(session)
    findings = [*run_checks(studies, sent, audit, settings), check_no_restarts(died)]
    console.print(results_table(sent, width=console.width))
    show_checks(findings, console)
    show_locations(FOLDER, sent, time.monotonic() - started, console)
    return 0 if all(finding.holds for finding in findings) else 1


def demo_settings(folder: Path) -> Settings:
    """Return settings of a new installation in `folder`, on free ports; an old demo there is removed."""
    if folder.exists():
        _remove_old(folder)
    folder.mkdir()
    (folder / MARKER).touch()
    broker, listener = free_ports(2)
    return read_settings(
        **DEMO_DEFAULTS,
        state_dir=folder,
        broker_url=f"redis://127.0.0.1:{broker}/0",
        broker_prefix="pneumo:",
        device="cpu",  # where the same pixels give the same figure, bit for bit
        listen_port=listener,
        idle_window_s=1.0,
        relay_interval_s=0.5,
        lease_s=15,  # if a worker dies, what it had claimed is done again within the demo
        lease_renewal_s=5,
        requeue_after_s=15,
        log_level="INFO",
    )


def _remove_old(folder: Path) -> None:
    """Remove an earlier demo, unless the folder holds something else or an installation runs in it."""
    if any(folder.iterdir()) and not (folder / MARKER).exists():
        raise Rejected(
            "NOT_A_DEMO_FOLDER",
            f"The folder {folder} exists and was not made by a demo. Move it away, or run the "
            "demo in another folder.",
        )
    with locked(read_settings(state_dir=folder)):
        shutil.rmtree(folder)


def free_ports(count: int) -> list[int]:
    """Return TCP ports on loopback that are free."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def send(studies: Sequence[DemoStudy], settings: Settings, console: Console) -> None:
    """Send each study in an association of its own that proposes its transfer syntax and no other."""
    with progress_bar(console) as progress:
        task = progress.add_task("sending by C-STORE", total=len(studies))
        for study in studies:
            send_one(study, settings)
            progress.advance(task)


def send_one(study: DemoStudy, settings: Settings) -> None:
    """Send one study. Raises Transient if the listener does not accept it."""
    ae = AE(ae_title="DEMO")
    ae.add_requested_context(study.dataset.SOPClassUID, study.syntax)
    association = ae.associate(
        settings.listen_host, settings.listen_port, ae_title=settings.ae_title
    )
    if not association.is_established:
        raise Transient("NO_ASSOCIATION", f"The listener refused an association for {study.title}.")
    answer = association.send_c_store(study.dataset, priority=C_STORE_PRIORITY[study.priority])
    association.release()
    if "Status" not in answer or answer.Status != 0:
        raise Transient("NOT_STORED", f"The listener did not accept {study.title}.")


def collect_results(
    studies: Sequence[DemoStudy], database: Database, supervisor: Supervisor, console: Console
) -> list[SentStudy]:
    """Wait until every study has a result, then read them all; parts are kept alive meanwhile."""
    with database.reading() as session:
        keys = [find_study(session, study.dataset.StudyInstanceUID) or "" for study in studies]
    with progress_bar(console) as progress:
        task = progress.add_task("waiting for results", total=len(studies))

        def look(ended: int) -> None:
            supervisor.check_children()
            progress.update(task, completed=ended)

        wait_for_studies(database, keys, timeout_s=WAIT_S, on_progress=look)
    with database.reading() as session:
        details = [study_detail(session, key) for key in keys]
    return [
        SentStudy(study=study, detail=detail)
        for study, detail in zip(studies, details, strict=True)
        if detail is not None
    ]


def progress_bar(console: Console) -> Progress:
    """Return a progress bar in the demo's style."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console)
