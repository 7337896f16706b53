"""`pneumo erase`: erase who a study, or all studies of a patient, belong to."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from db.deliveries.cancel import cancel_study_deliveries, destinations_with_objects
from db.engine.session import Database
from db.ledger.identity import erase_identity, studies_of_patient
from worker.errors import Rejected
from worker.screens.console import actor, counted, opened, resolve_study_key
from worker.settings import Settings


def erase_identity_of(
    settings: Settings, study: str | None = None, *, patient: bool = False, yes: bool = False
) -> int:
    """Erase patient id and accession number, and cancel every delivery that names the person.

    Results to come are not sent either. `patient`: of all studies of the patient whose id comes from a
    prompt or from standard input, never from the command line, which other users of the machine can
    read. `yes`: do not ask. Return 1 if there was nothing to erase.

    Raises Rejected ERASE_WHICH, PATIENT_ID_EMPTY, STUDY_UNKNOWN.
    """
    if patient == bool(study):
        raise Rejected("ERASE_WHICH", "Name one study, or give --patient; not both.")
    console = Console()
    with opened(settings) as database:
        keys = _keys(database, study)
        if not keys:
            console.print("No study of this patient id is known; one erased before is not found.")
            return 1
        if not yes:
            whose = "this study" if study else counted(len(keys), "study")
            typer.confirm(f"Erase patient id and accession number of {whose} for good?", abort=True)
        erased = [_erase(database, key, console) for key in keys]
    return 0 if any(erased) else 1


def _keys(database: Database, study: str | None) -> list[str]:
    if study:
        with database.reading() as session:
            return [resolve_study_key(session, study)]
    patient_id, issuer = _ask_for_patient()
    with database.reading() as session:
        return studies_of_patient(session, patient_id, issuer=issuer)


def _ask_for_patient() -> tuple[str, str | None]:
    """Return Patient ID and issuer, from a prompt without echo, or from two lines of standard input."""
    if sys.stdin.isatty():
        patient_id = typer.prompt("Patient ID (not shown)", hide_input=True, default="")
        issuer = typer.prompt(
            "Issuer of Patient ID (not shown; empty: any)", hide_input=True, default=""
        )
    else:
        patient_id, issuer = sys.stdin.readline(), sys.stdin.readline()
    if not patient_id.strip():
        raise Rejected(
            "PATIENT_ID_EMPTY",
            "No Patient ID was given. Type it at the prompt, or give it as the first line of standard "
            "input, and its issuer as the second.",
        )
    return patient_id.strip(), issuer.strip() or None


def _erase(database: Database, key: str, console: Console) -> bool:
    """Erase one study in a transaction of its own; return False if there was nothing to erase."""
    with database.transaction() as session:
        cancelled = cancel_study_deliveries(session, key, actor())
        erased = erase_identity(session, key, actor=actor())
        holders = destinations_with_objects(session, key)
    console.print(
        f"{key}: erased; no patient id or accession number is kept, and no result of this study is "
        "sent from now on."
        if erased
        else f"{key}: there was nothing to erase."
    )
    if cancelled:
        console.print(
            f"Cancelled {counted(cancelled, 'delivery')} in which the person's name would have been "
            "sent."
        )
    if holders:
        console.print(
            f"Results of this study were sent earlier to {', '.join(holders)}: erase them there."
        )
    return bool(erased or cancelled)
