"""`pneumo demo`: real studies over a real association, through real processes, checked at the end."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from db.audit import verify
from db.enums import Priority, Verdict
from db.overview import find_study, study_detail
from db.records import AuditReport, StudyDetail
from db.session import Database
from worker.errors import Rejected, Transient
from worker.intake.accept import wait_for
from worker.logging import configure_logging
from worker.operations.demo_studies import LOSSLESS, DemoStudy, demo_studies
from worker.operations.installation import locked, parts_of, prepare, wait_until_ready
from worker.operations.screens import COLOUR, wide_console
from worker.operations.supervisor import Supervisor
from worker.settings import Settings, read_settings

FOLDER = Path("demo-state")
MARKER = ".pneumo-demo"
"""Lies in a demo's state folder; a folder without it is not ours to remove."""
TOLERANCE = 1e-6
"""Largest difference between the probabilities of lossless encodings of one image."""
WAIT_S = 120.0
"""Longest wait for the results."""
C_STORE_PRIORITY = {Priority.STAT: 1, Priority.ROUTINE: 0}
"""HIGH and MEDIUM, PS3.7 9.3.1.1."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that had to be so, and whether it was."""

    holds: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A study that was sent, and what the database says of it."""

    study: DemoStudy
    detail: StudyDetail


def run_demo(console: Console | None = None) -> int:
    """Run it all in `demo-state`; 0 if everything was as it should be, else 1."""
    console = console or wide_console()
    configure_logging("ERROR", "text")  # the terminal is for the table
    started = time.monotonic()
    site = fresh_site(FOLDER)
    database = Database(site.database_url)
    with locked(site):
        (site.state_dir / MARKER).touch()
        with console.status("making the database and the model ready"):
            prepare(site)
            studies = demo_studies()
        with Supervisor(log_dir=site.log_dir, environment=site.as_environment()) as supervisor:
            for part in parts_of(site, concurrency=4, suspect=False):
                supervisor.start(part)
            with console.status("starting broker, worker (stock celery), relay and listener"):
                wait_until_ready(site, supervisor, workers=1)
            send(studies, site, console)
            sent = collect(studies, database, console)
        with database.reading() as session:
            audit = verify(session)
    database.dispose()
    findings = judge(sent, audit, site)
    console.print(results_table(sent))
    show_findings(findings, console)
    show_whereabouts(sent, time.monotonic() - started, console)
    return 0 if all(finding.holds for finding in findings) else 1


def fresh_site(folder: Path) -> Settings:
    """Settings of a new installation in `folder`, on free ports; an old demo there is removed."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise Rejected(
                "NOT_A_DEMO_FOLDER",
                f"The folder {folder} exists and was not made by a demo. Move it away, or run the "
                "demo in another folder.",
            )
        shutil.rmtree(folder)
    folder.mkdir()
    broker, listener = free_ports(2)
    return read_settings(
        state_dir=folder,
        database_url="",
        broker_url=f"redis://127.0.0.1:{broker}/0",
        listen_host="127.0.0.1",
        listen_port=listener,
        idle_window_s=1.0,
        relay_interval_s=0.5,
    )


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def send(studies: Sequence[DemoStudy], site: Settings, console: Console) -> None:
    """One association for each study, proposing its own transfer syntax and no other."""
    with bar(console) as progress:
        task = progress.add_task("sending by C-STORE", total=len(studies))
        for study in studies:
            send_one(study, site)
            progress.advance(task)


def send_one(study: DemoStudy, site: Settings) -> None:
    """Raises Transient if the listener does not take it over."""
    ae = AE(ae_title="DEMO")
    ae.add_requested_context(study.dataset.SOPClassUID, study.syntax)
    association = ae.associate(site.listen_host, site.listen_port, ae_title=site.ae_title)
    if not association.is_established:
        raise Transient("NO_ASSOCIATION", f"The listener refused an association for {study.title}.")
    answer = association.send_c_store(study.dataset, priority=C_STORE_PRIORITY[study.priority])
    association.release()
    if "Status" not in answer or answer.Status != 0:
        raise Transient("NOT_STORED", f"The listener did not take over {study.title}.")


def collect(studies: Sequence[DemoStudy], database: Database, console: Console) -> list[Sent]:
    """Wait until every study has a result, then read all of it."""
    with database.reading() as session:
        keys = [find_study(session, study.dataset.StudyInstanceUID) or "" for study in studies]
    with bar(console) as progress:
        task = progress.add_task("waiting for results", total=len(studies))
        wait_for(
            database,
            keys,
            timeout_s=WAIT_S,
            on_progress=lambda done: progress.update(task, completed=done),
        )
    with database.reading() as session:
        details = [study_detail(session, key) for key in keys]
    return [
        Sent(study=study, detail=detail)
        for study, detail in zip(studies, details, strict=True)
        if detail is not None
    ]


def bar(console: Console) -> Progress:
    """A progress bar as all of the demo's are."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console)


# -- Was everything as it should be? ------------------------------------------------------------


def judge(sent: Sequence[Sent], audit: AuditReport, site: Settings) -> list[Finding]:
    """Every promise of the demo, each with what was found."""
    return [
        *(outcome_finding(item) for item in sent),
        lossless_finding(sent),
        stat_finding(sent),
        Finding(
            holds=audit.ok,
            sentence=f"the audit chain of {audit.records} records is unbroken"
            if audit.ok
            else f"the audit chain is broken: {audit.first_broken}",
        ),
        privacy_finding(sent, site),
    ]


def outcome_finding(item: Sent) -> Finding:
    """The study was predicted, or refused with the code that it had to be refused with."""
    study, codes = item.study, refusal_codes(item)
    verdict = item.detail.summary.verdict
    if study.refusal is None:
        return Finding(
            holds=verdict in (Verdict.POSITIVE, Verdict.NEGATIVE),
            sentence=f"{study.title} ({short_name(study)}) was predicted",
        )
    return Finding(
        holds=verdict is Verdict.REJECTED and codes == [study.refusal],
        sentence=f"{study.title} was refused as {study.refusal}"
        + ("" if codes == [study.refusal] else f"; found {codes or 'no refusal'}"),
    )


def lossless_finding(sent: Sequence[Sent]) -> Finding:
    """All lossless encodings of one radiograph are one radiograph."""
    found = {
        item.study.syntax: item.detail.summary.probability
        for item in sent
        if item.study.refusal is None
    }
    values = [value for value in found.values() if value is not None]
    spread = max(values) - min(values) if values else float("inf")
    return Finding(
        holds=spread <= TOLERANCE and set(found) == set(LOSSLESS) and len(values) == len(LOSSLESS),
        sentence=f"{len(values)} lossless encodings give the same probability "
        f"(largest difference {spread:.1e}, allowed {TOLERANCE:.0e})",
    )


def stat_finding(sent: Sequence[Sent]) -> Finding:
    """What was sent with priority HIGH went through the stat lane, and nothing else did."""
    return Finding(
        holds=all(
            item.detail.summary.priority is item.study.priority
            and all(
                attempt.lane.value == item.study.priority.value for attempt in item.detail.attempts
            )
            for item in sent
        ),
        sentence="the STAT study went through the stat lane, the others through routine",
    )


def privacy_finding(sent: Sequence[Sent], site: Settings) -> Finding:
    """No name, patient id or UID that was sent stands in a log."""
    planted = {
        str(item.study.dataset.get(keyword, ""))
        for item in sent
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID")
    } - {""}
    text = "".join(log.read_text(errors="replace") for log in site.log_dir.glob("*.log"))
    return Finding(
        holds=bool(text) and not any(word in text for word in planted),
        sentence=f"none of {len(planted)} names, ids and UIDs that were sent stands in a log",
    )


# -- Showing it ---------------------------------------------------------------------------------


def results_table(sent: Sequence[Sent]) -> Table:
    """One row for each study, with the seconds of each step."""
    table = Table(
        title="What came of the studies", title_justify="left", box=box.SIMPLE_HEAD, padding=0
    )
    for heading in ("study", "source syntax", "verdict", "model version"):
        table.add_column(heading, no_wrap=True)
    for heading in ("probability", "wait", "read", "norm", "infer", "store", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in sent:
        table.add_row(*row_of(item))
    return table


def row_of(item: Sent) -> list[str | Text]:
    """The cells of one study."""
    summary = item.detail.summary
    last = item.detail.attempts[-1] if item.detail.attempts else None
    seconds = [
        summary.waiting_seconds,
        *((last.read_seconds, last.normalise_seconds) if last else (None, None)),
        *((last.inference_seconds, last.store_seconds) if last else (None, None)),
        summary.turnaround_seconds,
    ]
    verdict = Text(summary.verdict.value, style=COLOUR[summary.verdict]) if summary.verdict else ""
    return [
        item.study.title,
        short_name(item.study),
        verdict or summary.state.value,
        summary.model_name or "",
        "" if summary.probability is None else f"{summary.probability:.6f}",
        *("" if value is None else f"{value:.2f}" for value in seconds),
    ]


def short_name(study: DemoStudy) -> str:
    """`JPEG Lossless SV1` for the standard's long name."""
    return SHORT_NAMES.get(study.syntax, study.syntax.name)


SHORT_NAMES = {
    ExplicitVRLittleEndian: "uncompressed",
    RLELossless: "RLE",
    JPEGLosslessSV1: "JPEG Lossless SV1",
    JPEGLSLossless: "JPEG-LS lossless",
    JPEG2000Lossless: "JPEG 2000 lossless",
}


def refusal_codes(item: Sent) -> list[str]:
    """Codes with which the study's instances were refused."""
    return [i.refusal.code for i in item.detail.instances if i.refusal]


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """What was checked; what failed comes last, where it is seen."""
    for finding in sorted(findings, key=lambda f: not f.holds):
        mark = "[green]ok[/]    " if finding.holds else "[bold red]FAILED[/]"
        console.print(f"{mark} {finding.sentence}", highlight=False, soft_wrap=True)


def show_whereabouts(sent: Sequence[Sent], seconds: float, console: Console) -> None:
    """Where everything lies, and what to type next."""
    key = sent[0].detail.summary.study_key[:12] if sent else "STUDY"
    pneumo = f".venv/bin/pneumo --state {FOLDER}"
    console.print(
        f"\ndatabase  {FOLDER}/pneumo.sqlite\nlogs      {FOLDER}/logs\n"
        f"next      {pneumo} show {key}\n          {pneumo} report\n          {pneumo} up\n\n"
        f"Took {seconds:.0f} s. For research until cleared where it is used.",
        highlight=False,
        soft_wrap=True,
    )
