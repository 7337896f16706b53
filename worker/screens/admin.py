"""What operators change: model versions and identities."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Column, Table

from db.deliveries.cancel import cancel_study_deliveries, destinations_with_objects
from db.ledger.identity import erase_identity
from db.ledger.model_registry import activate_model, list_models, select_shadow
from worker.screens.console import (
    actor,
    counted,
    format_time,
    opened,
    reading,
    resolve_study_key,
    wide_console,
    writing,
)
from worker.settings import Settings

FOLLOWED = "running workers follow within seconds."


def show_models(settings: Settings) -> None:
    """Print the registered model versions; the active one and the shadow are marked."""
    with reading(settings) as session:
        models = list_models(session)
    table = Table(
        Column("model version", no_wrap=True),
        "role",
        "threshold",
        "temperature",
        "digest",
        "registered",
    )
    for model in models:
        table.add_row(
            model.name,
            "[green]active[/]" if model.is_active else "shadow" if model.is_shadow else "",
            f"{model.threshold:.4f}",
            f"{model.temperature:.4f}",
            model.bundle_digest[:12],
            format_time(model.registered_at),
        )
    wide_console().print(table)


def register(settings: Settings, bundle: Path) -> None:
    """Verify a bundle, copy it into the installation and record it."""
    from worker.inference.active_model import register_bundle

    with opened(settings) as database:
        record = register_bundle(database, settings, bundle, actor=actor())
    state = "it is active" if record.is_active else f"next: pneumo model activate {record.name}"
    wide_console().print(
        f"{record.name} is registered (digest {record.bundle_digest[:12]}…); {state}."
    )


def activate(settings: Settings, name: str) -> None:
    """Select a registered version."""
    with writing(settings) as session:
        record = activate_model(session, name, actor=actor())
    wide_console().print(f"{record.name} is active; {FOLLOWED}")


def set_shadow(settings: Settings, name: str) -> None:
    """Select the version that predicts beside the active one, or none."""
    with writing(settings) as session:
        record = select_shadow(session, None if name == "none" else name, actor=actor())
    chosen = f"{record.name} is the shadow" if record else "There is no shadow now"
    wide_console().print(f"{chosen}; {FOLLOWED}")


def erase_identity_of(settings: Settings, study: str, *, yes: bool) -> int:
    """Erase a study's patient id and accession number, and cancel every delivery that names the person.

    Results to come are not sent either. `yes`: do not ask. Return 1 if there was nothing to erase.
    """
    if not yes:
        typer.confirm("Erase patient id and accession number of this study for good?", abort=True)
    with writing(settings) as session:
        key = resolve_study_key(session, study)
        cancelled = cancel_study_deliveries(session, key, actor())
        erased = erase_identity(session, key, actor=actor())
        holders = destinations_with_objects(session, key)
    console = Console()
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
    return 0 if erased or cancelled else 1
