"""`pneumo up`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType

from rich.console import Console
from rich.panel import Panel

from worker.operations.installation import locked, parts_of, prepare, wait_until_ready
from worker.operations.supervisor import Supervisor
from worker.settings import Settings


def run_up(site: Settings, *, concurrency: int, console: Console | None = None) -> int:
    """Prepare, start, say where everything is, keep it alive; 0 after an orderly end."""
    console = console or Console()
    stop = _stop_on_signals()
    with locked(site):
        prepare(site)
        with Supervisor(log_dir=site.log_dir, environment=site.as_environment()) as supervisor:
            for part in parts_of(site, concurrency=concurrency):
                supervisor.start(part)
            with console.status("starting"):
                wait_until_ready(site, supervisor, workers=2, on_wait=lambda _: _leave_early(stop))
            console.print(_where_everything_is(site))
            supervisor.watch(until=lambda: bool(stop))
            console.print("Stopping; running studies are finished first.")
    console.print("Stopped. `pneumo up` finds everything again.")
    return 0


def _stop_on_signals() -> list[int]:
    """A list that stays empty until SIGINT or SIGTERM."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return received


def _where_everything_is(site: Settings) -> Panel:
    pneumo = f"pneumo --state {site.state_dir}"
    return Panel(
        f"Send radiographs by C-STORE to [bold]{site.ae_title}[/] at "
        f"{site.listen_host}:{site.listen_port} (STAT: {site.stat_ae_title}),\n"
        f"or: {pneumo} enqueue PATH… --wait\n\n"
        f"database  {site.database_url.split('@')[-1]}\n"
        f"logs      {site.log_dir}\n\n"
        f"next      {pneumo} status\n"
        f"          {pneumo} report\n\n"
        "Ctrl-C stops everything in order. For research until cleared where it is used.",
        title="pneumo is up",
        expand=False,
    )


def _leave_early(stop: list[int]) -> None:
    """Ctrl-C while starting: end what has started, in order."""
    if stop:
        raise SystemExit(128 + stop[0])
