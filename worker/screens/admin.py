"""What operators change about model versions."""

from __future__ import annotations

from pathlib import Path

from rich.table import Column, Table

from db.ledger.model_registry import activate_model, list_models, select_shadow
from worker.screens.console import (
    actor,
    format_time,
    opened,
    reading,
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
