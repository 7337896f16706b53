"""`pneumo up`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console
from rich.panel import Panel

from worker.local.exclusive import locked, require_free_ports
from worker.local.supervisor import Supervisor
from worker.logging import configure_logging
from worker.screens.console import RESEARCH_ONLY
from worker.settings import Settings
from worker.storage.private_folders import keep_private


def run_up(settings: Settings, *, concurrency: int, console: Console | None = None) -> int:
    """Prepare and start all parts, print where everything is, keep it alive; 0 after an orderly stop."""
    console = console or Console()
    signals = _note_stop_signals()
    with locked(settings), _own_log(settings), console.status("starting") as status:
        keep_private(settings)
        require_free_ports(settings)  # before torch is imported, which takes many seconds
        from worker.local.installation import prepare, process_specs, wait_until_ready

        def waiting_for(name: str) -> None:
            status.update(f"starting: waiting for the {name}")
            _exit_if_stopped(signals)

        prepare(settings)
        keep_private(settings)  # the database exists now
        _exit_if_stopped(signals)
        supervisor = Supervisor(
            log_dir=settings.log_dir,
            environment=settings.as_environment(),
            on_death=lambda sentence: _print(console, sentence),
        )
        with supervisor:
            for part in process_specs(settings, concurrency=concurrency):
                supervisor.start(part)
            wait_until_ready(settings, supervisor, on_wait=waiting_for)
            status.stop()
            console.print(_where_everything_is(settings))
            supervisor.watch(until=lambda: bool(signals))
            _print(console, "Stopping; running studies are finished first.")
    _print(console, "Stopped. `pneumo up` continues where this ended.")
    return 0


@contextmanager
def _own_log(settings: Settings) -> Iterator[None]:
    """Write what the supervisor does to a log of its own, beside those of the parts."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with (settings.log_dir / "supervisor.log").open("a", buffering=1) as stream:
        configure_logging(settings.log_level, settings.log_format, stream)
        yield


def _print(console: Console, sentence: str) -> None:
    """Print a sentence; a terminal that is gone must not stop the installation."""
    with suppress(OSError):
        console.print(sentence, highlight=False)


def _note_stop_signals() -> list[int]:
    """Return a list that stays empty until Ctrl-C, SIGTERM, or the loss of the terminal.

    A script's `pneumo up &` starts with SIGINT ignored; it is obeyed all the same, as servers do, so
    that `kill -INT` and a Ctrl-C that ends the script stop the installation in order. Only an ignored
    SIGHUP stays ignored: that is what `nohup` is for.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    return received


def _exit_if_stopped(signals: Sequence[int]) -> None:
    """Leave with the shell's code for the signal; what has started is stopped in order."""
    if signals:
        raise SystemExit(128 + signals[0])


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
        f"Ctrl-C stops everything in order. {RESEARCH_ONLY}",
        title="pneumo is up",
        expand=False,
    )
