"""`pneumo up`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console
from rich.panel import Panel
from rich.status import Status

from worker.local.installation import locked, prepare, process_specs, wait_until_ready
from worker.local.supervisor import Supervisor
from worker.logging import configure_logging
from worker.settings import Settings


def run_up(settings: Settings, *, concurrency: int, console: Console | None = None) -> int:
    """Prepare, start, say where everything is, keep it alive; 0 after an orderly end."""
    console = console or Console()
    stop = _stop_on_signals()
    with locked(settings), _own_log(settings), console.status("starting") as status:
        prepare(settings)
        supervisor = Supervisor(
            log_dir=settings.log_dir,
            environment=settings.as_environment(),
            on_death=lambda sentence: _say(console, sentence),
        )
        with supervisor:
            for part in process_specs(settings, concurrency=concurrency):
                supervisor.start(part)
            wait_until_ready(settings, supervisor, on_wait=lambda name: _still(name, status, stop))
            status.stop()
            console.print(_where_everything_is(settings))
            supervisor.watch(until=lambda: bool(stop))
            _say(console, "Stopping; running studies are finished first.")
    _say(console, "Stopped. `pneumo up` finds everything again.")
    return 0


@contextmanager
def _own_log(settings: Settings) -> Iterator[None]:
    """What the supervisor does goes into a log of its own, beside those of its parts."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with (settings.log_dir / "supervisor.log").open("a", buffering=1) as stream:
        configure_logging(settings.log_level, settings.log_format, stream)
        yield


def _say(console: Console, sentence: str) -> None:
    """Tell whoever watches; a terminal that is gone must not bring the installation down."""
    with suppress(OSError):
        console.print(sentence, highlight=False)


def _stop_on_signals() -> list[int]:
    """A list that stays empty until Ctrl-C, SIGTERM, or the loss of the terminal."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, note)
    return received


def _where_everything_is(settings: Settings) -> Panel:
    pneumo = f"pneumo --state {settings.state_dir}"
    return Panel(
        f"Send radiographs by C-STORE to [bold]{settings.ae_title}[/] at "
        f"{settings.listen_host}:{settings.listen_port} (STAT: {settings.stat_ae_title}),\n"
        f"or: {pneumo} enqueue PATH… --wait\n\n"
        f"database  {settings.database_url.split('@')[-1]}\n"
        f"logs      {settings.log_dir}\n\n"
        f"next      {pneumo} status\n"
        f"          {pneumo} report\n\n"
        "Ctrl-C stops everything in order. For research until cleared where it is used.",
        title="pneumo is up",
        expand=False,
    )


def _still(missing: str, status: Status, stop: list[int]) -> None:
    """Say what is waited for; Ctrl-C while starting ends what has started, in order."""
    status.update(f"starting: waiting for the {missing}")
    if stop:
        raise SystemExit(128 + stop[0])
