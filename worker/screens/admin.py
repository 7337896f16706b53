"""`pneumo retry`, `pneumo model register|activate`, `pneumo erase`: what operators change."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from db.deliveries.cancel import cancel_study_deliveries, destinations_with_objects
from db.engine.session import Database
from db.ledger.identity import erase_identity
from db.ledger.model_registry import activate_model, select_shadow
from db.studies.overview import parked_studies
from db.studies.results import retry_parked
from worker.errors import Rejected
from worker.screens.console import resolve_study_key
from worker.settings import Settings


def actor() -> str:
    """Who did it, as the audit trail names them: the login name on this machine."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):
        return "operator:unknown"


def retry_studies(
    settings: Settings, studies: Sequence[str], *, all_parked: bool, code: str | None = None
) -> int:
    """Send parked studies round again; 1 if one of those named is not parked."""
    if all_parked == bool(studies):
        raise Rejected(
            "RETRY_WHICH", "Name the studies to retry, or say --parked for all of them; not both."
        )
    console, database = Console(), Database(settings.database_url)
    if all_parked:
        with database.reading() as session:
            keys = parked_studies(session, code=code)
    else:
        keys = [resolve_study_key(database, asked) for asked in studies]
    left_alone = 0
    for key in keys:
        with database.transaction() as session:
            done = retry_parked(session, key, actor=actor())
        left_alone += not done
        console.print(f"{key}: {'will be tried again' if done else 'is not parked, left alone'}")
    if not keys:
        console.print("Nothing is parked.")
    database.dispose()
    return 1 if left_alone else 0


def register(settings: Settings, bundle: Path) -> None:
    """Verify and record a bundle."""
    from worker.inference.active_model import register_bundle

    database = Database(settings.database_url)
    record = register_bundle(database, settings, bundle, actor=actor())
    database.dispose()
    state = "is active" if record.is_active else f"next: pneumo model activate {record.name}"
    Console().print(f"{record.name} is registered (digest {record.bundle_digest[:12]}…); {state}.")


def activate(settings: Settings, name: str) -> None:
    """Select a registered version."""
    database = Database(settings.database_url)
    with database.transaction() as session:
        record = activate_model(session, name, actor=actor())
    database.dispose()
    Console().print(f"{record.name} is active; running workers follow within seconds.")


def set_shadow(settings: Settings, name: str) -> None:
    """Select the version that predicts beside the active one, or none."""
    database = Database(settings.database_url)
    with database.transaction() as session:
        record = select_shadow(session, None if name == "none" else name, actor=actor())
    database.dispose()
    said = f"{record.name} is the shadow" if record else "There is no shadow now"
    Console().print(f"{said}; running workers follow within seconds.")


def erase_identity_of(settings: Settings, asked: str) -> int:
    """Erase patient id and accession number of one study, and let go of results that name the person,
    those that are owed and those to come; 1 if all was gone already.
    """
    database = Database(settings.database_url)
    key = resolve_study_key(database, asked)
    with database.transaction() as session:
        forgone = cancel_study_deliveries(session, key, actor())
        erased = erase_identity(session, key, actor=actor())
        hold = destinations_with_objects(session, key)
    database.dispose()
    console = Console()
    if erased:
        console.print(
            f"{key}: erased; no patient id or accession number is kept, and no result of it is sent "
            "from now on."
        )
    else:
        console.print(f"{key}: nothing was left to erase.")
    if forgone:
        console.print(
            f"{forgone} results that were owed to destinations, with the person's name in them, are "
            "let go: they are not sent any more."
        )
    if hold:
        console.print(
            f"Results of this study were sent to {', '.join(hold)} before: erase them there."
        )
    return 0 if erased or forgone else 1
