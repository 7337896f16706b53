"""`pneumo audit`: verify the trail and the results, sign checkpoints, export records."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.orm import Session

from db.ledger.audit import verify_chains
from db.ledger.audit_reader import COLUMNS, AuditFilter, count_records, read_records
from db.ledger.model_registry import list_models
from db.ledger.models_check import model_differences
from db.ledger.results_check import ResultsCheck
from db.ledger.stored_studies import count_studies
from db.values.operations import AuditDifference
from worker.audit.checkpoint_file import compare_with_checkpoints, sign_checkpoint
from worker.audit.dicom_messages import audit_message
from worker.audit.signed_note import Verifier, make_key, read_signer, read_verifier
from worker.audit.syslog import MessageKind, format_message, read_collector, send_messages
from worker.errors import Rejected, Transient
from worker.screens.console import counted, opened, reading, resolve_study_key, wide_console
from worker.settings import Settings

SHOWN = 100
"""Most differences that are listed; the rest are counted."""
BATCH = 500
"""Messages in one connection to the collector."""


# --- verify ---------------------------------------------------------------------------------------


@dataclass
class _Findings:
    """What a verification found: sentences, of which very many are only counted."""

    sentences: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, found: Iterable[object]) -> None:
        """Add each of these."""
        for item in found:
            self.count += 1
            if self.count <= SHOWN:
                self.sentences.append(str(item))


def show_audit_report(
    settings: Settings,
    *,
    against: Path | None = None,
    public_key: str | None = None,
    chains_only: bool = False,
) -> int:
    """Verify chains, checkpoints, results, registry and bundles; return 1 if anything differs."""
    console, findings = wide_console(), _Findings()
    verifier = _verifier(settings, public_key) if against else None
    with reading(settings) as session, _progress_bar(console) as follow:
        verified = [_verify_chains(session, findings, follow)]
        if against and verifier:
            verified.append(_verify_checkpoints(session, findings, against, verifier))
        if not chains_only:
            verified += _verify_results(session, findings, follow)
            verified += _verify_bundles(settings, session, findings)
    if findings.count:
        console.print(
            f"[bold red]The audit trail does not fit.[/] {counted(findings.count, 'difference')}:"
        )
        for sentence in findings.sentences:
            console.print(f"- {sentence}", markup=False)
        if findings.count > len(findings.sentences):
            console.print(f"… and {findings.count - len(findings.sentences)} more.")
    else:
        console.print("[green]The audit trail is unbroken[/], and the results are as recorded.")
    for sentence in verified:
        console.print(sentence, markup=False)
    return 1 if findings.count else 0


def _verify_chains(session: Session, findings: _Findings, follow: _Follow) -> str:
    with follow("records", count_records(session, AuditFilter())) as advance:
        report = verify_chains(session, progress=advance)
    findings.add([report.first_broken] if report.first_broken else [])
    return f"{counted(report.records, 'record')} verified."


def _verify_checkpoints(
    session: Session, findings: _Findings, path: Path, verifier: Verifier
) -> str:
    report = compare_with_checkpoints(session, path, verifier)
    findings.add(report.faults)
    if report.newest is None:
        return f"{counted(report.checkpoints, 'checkpoint')}, none of them valid."
    return (
        f"{counted(report.checkpoints, 'checkpoint')} compared; the newest is of "
        f"{report.newest.written_at:%Y-%m-%d %H:%M:%S} UTC with {counted(report.newest.records, 'record')}. "
        "What was recorded after it is protected by the chains alone."
    )


def _verify_results(session: Session, findings: _Findings, follow: _Follow) -> list[str]:
    findings.add(model_differences(session))
    with follow("studies", count_studies(session)) as advance:
        check = ResultsCheck(session, advance)
        findings.add(check.differences())
    verified = [f"{counted(check.studies, 'study')} compared with the trail."]
    if check.before_digests:
        verified.append(
            f"{counted(check.before_digests, 'record')} of results are from before version 0.3, which "
            "did not record digests of whole rows: of these results verdict, scores and codes were compared."
        )
    return verified


def _verify_bundles(settings: Settings, session: Session, findings: _Findings) -> list[str]:
    """Compare the bundles on this machine with the registry, every byte of them."""
    from worker.model.bundle import is_whole

    compared, elsewhere = 0, []
    for model in list_models(session):
        folder = settings.models_dir / model.location
        if not folder.is_dir():
            elsewhere.append(model.name)
            continue
        compared += 1
        if not is_whole(folder, model.bundle_digest):
            findings.add(
                [
                    AuditDifference(
                        study_key=None,
                        what=f"bundle of {model.name}",
                        field="digest",
                        recorded=model.bundle_digest,
                        found="other files",
                    )
                ]
            )
    verified = [f"{counted(compared, 'bundle')} compared with the registry."]
    if elsewhere:
        verified.append(f"Not on this machine, so not compared: {', '.join(elsewhere)}.")
    return verified


def _verifier(settings: Settings, public_key: str | None) -> Verifier:
    if public_key is not None:
        return read_verifier(public_key)
    return read_signer(_key_file(settings)).verifier


def _key_file(settings: Settings) -> Path:
    if settings.audit_key is None:
        raise Rejected(
            "AUDIT_KEY_MISSING",
            "No key for checkpoints is set. Make one with `pneumo audit key FILE` and let PNEUMO_AUDIT_KEY name "
            "it; to verify elsewhere, give its public half with --public-key.",
        )
    return settings.audit_key


_Follow = Callable[[str, int], Any]
"""Opens a progress bar for so many things of a kind; yields what advances it."""


@contextmanager
def _progress_bar(console: Console) -> Iterator[_Follow]:
    """Show progress on a terminal; elsewhere nothing."""
    if not console.is_terminal:
        yield lambda _what, _total: nullcontext(lambda _steps: None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:

        @contextmanager
        def follow(what: str, total: int) -> Iterator[Callable[[int], None]]:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)

        yield follow


# --- keys and checkpoints -------------------------------------------------------------------------


def make_audit_key(settings: Settings, *, file: Path, name: str) -> None:  # noqa: ARG001  as all screens
    """Make a key and print its public half. Raises Rejected AUDIT_KEY_NAME, AUDIT_KEY_EXISTS."""
    verifier = make_key(file, name)
    print(verifier)
    Console(stderr=True).print(
        f"{file.name} holds the private key: let PNEUMO_AUDIT_KEY name it, and keep a copy of the public key "
        "above where this machine's administrators cannot change it."
    )


def print_checkpoint(settings: Settings) -> None:
    """Print a signed checkpoint. Raises Rejected AUDIT_KEY_MISSING, AUDIT_KEY_UNUSABLE."""
    signer = read_signer(_key_file(settings))
    with opened(settings) as database:
        _, note = sign_checkpoint(database, signer)
    sys.stdout.write(note)


# --- export ---------------------------------------------------------------------------------------


def export_trail(
    settings: Settings,
    *,
    format: str,  # noqa: A002  the option's name
    output: Path | None,
    first: date | None,
    last: date | None,
    study: str | None,
    send: bool,
) -> int:
    """Write records to a file or standard output, or send them to the collector.

    Raises Rejected EXPORT_WHICH, AUDIT_COLLECTOR_MISSING; Transient AUDIT_COLLECTOR_AWAY.
    """
    if send and (format != "dicom" or output is not None):
        raise Rejected(
            "EXPORT_WHICH", "--send sends DICOM messages: give --format dicom, and no --output."
        )
    with reading(settings) as session:
        wanted = AuditFilter(
            begins=_midnight(first),
            ends=_midnight(last + timedelta(days=1)) if last else None,
            study_key=resolve_study_key(session, study) if study else None,
        )
        records = read_records(session, wanted)
        if send:
            count = _send(settings, records)
        elif output is None:
            count = _WRITERS[format](settings, records, sys.stdout)
        else:
            with output.open("w", encoding="utf-8", newline="") as file:
                count = _WRITERS[format](settings, records, file)
    done = "sent to the collector" if send else "written"
    Console(stderr=True).print(f"{counted(count, 'record')} {done}.")
    return 0


def _write_json(_settings: Settings, records: Iterable[Any], file: TextIO) -> int:
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007  the last is the number
        values = _values(record) | {"detail": json.loads(record.detail)}
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
    return count


def _write_csv(_settings: Settings, records: Iterable[Any], file: TextIO) -> int:
    table, count = csv.DictWriter(file, COLUMNS), 0
    table.writeheader()
    for count, record in enumerate(records, start=1):  # noqa: B007  the last is the number
        table.writerow(_values(record))
    return count


def _write_dicom(settings: Settings, records: Iterable[Any], file: TextIO) -> int:
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007  the last is the number
        file.write(audit_message(record, settings.ae_title) + "\n")
    return count


_WRITERS = {"json": _write_json, "csv": _write_csv, "dicom": _write_dicom}


def _values(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in COLUMNS}
    return values | {"occurred_at": record.occurred_at.isoformat(timespec="microseconds")}


def _send(settings: Settings, records: Iterable[Any]) -> int:
    collector = read_collector(settings)
    if collector is None:
        raise Rejected(
            "AUDIT_COLLECTOR_MISSING",
            "No collector is set. Let PNEUMO_AUDIT_COLLECTOR name one, e.g. tls://audit.example:6514.",
        )
    messages = (
        format_message(
            MessageKind.AUDIT, audit_message(record, settings.ae_title), record.occurred_at
        )
        for record in records
    )
    count = 0
    try:
        while batch := list(islice(messages, BATCH)):
            count += send_messages(collector, batch)
    except OSError as error:
        raise Transient(
            "AUDIT_COLLECTOR_AWAY",
            f"The collector did not take the messages ({type(error).__name__}); {count} were sent before. "
            "Check PNEUMO_AUDIT_COLLECTOR and send again: the same record twice does no harm.",
        ) from None
    return count


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
