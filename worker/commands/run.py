"""Commands that keep an installation running; each process of it is one of them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from worker.commands.options import RUN, command_settings, service_settings, shown_by
from worker.storage.private_folders import keep_private

commands = typer.Typer()


@commands.command(rich_help_panel=RUN)
def demo() -> None:
    """Send real studies through everything on this machine, and show the results."""
    from worker.demo.demo import run_demo

    raise typer.Exit(run_demo())


@commands.command(rich_help_panel=RUN)
@shown_by("worker.local.up:run_up")
def up(
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Decoding threads of the worker.")
    ] = 4,
) -> None:
    """Run everything on this machine until Ctrl-C: broker, listener, relay, workers.

    All state is kept in one folder (--state); a restart finds everything again.
    """


@commands.command(rich_help_panel=RUN)
def listen() -> None:
    """Receive studies by DICOM C-STORE until stopped."""
    from worker.listener.storage_scp import run

    run(service_settings())


@commands.command(rich_help_panel=RUN)
def relay() -> None:
    """Publish what is due, recover the studies of dead workers, close idle studies."""
    from worker.relay.relay import run

    run(service_settings())


@commands.command(rich_help_panel=RUN)
def migrate(
    revision: Annotated[
        str, typer.Argument(help="Target revision: `head`, or `base` to undo everything.")
    ] = "head",
) -> None:
    """Bring the database to this version's tables and views."""
    from db.engine.migrate import current, downgrade, upgrade

    settings = command_settings()
    settings.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    url = settings.database_url
    if revision == "base":
        downgrade(url, revision)
    else:
        upgrade(url, revision)
        keep_private(settings)
    Console().print(f"The database is at revision {current(url) or 'base'}.")


@commands.command(rich_help_panel=RUN)
def health(
    part: Annotated[str, typer.Argument(help="worker, relay, listener or watch")],
) -> None:
    """Check whether a part on this machine is alive (exit code 0) or not (1)."""
    from worker.screens.health import check

    result = check(part, command_settings())
    Console().print(result.sentence)
    raise typer.Exit(0 if result.healthy else 1)
