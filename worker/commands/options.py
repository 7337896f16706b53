"""What several commands share: headings of the help, options, settings, and how a screen is called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from importlib import import_module
from typing import Annotated

import typer

from db.vocabulary.enums import Priority
from worker.settings import Settings, current_settings
from worker.storage.private_folders import keep_private, set_umask

RUN, SEND, LOOK, MEND, MAKE, KEEP = (
    "Run an installation",
    "Send studies",
    "See what happened",
    "Fix what went wrong",
    "Train and compare models",
    "Keep models and data",
)


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  a day has no time zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; expected 2026-01-31.") from None


def day_option(name: str, description: str) -> typer.models.OptionInfo:
    return typer.Option(name, parser=_day, metavar="YYYY-MM-DD", help=description)


StudyArgument = Annotated[
    str, typer.Argument(help="Study key, the beginning of one, or a Study Instance UID.")
]
PriorityOption = Annotated[Priority, typer.Option(help="`stat` goes first.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the results.")]
TimeoutOption = Annotated[float, typer.Option(help="Longest wait in seconds.")]
FirstDay = Annotated[date, day_option("--from", "First study date.")]
LastDay = Annotated[date, day_option("--to", "Last study date, included.")]
FirstFinished = Annotated[
    date | None, day_option("--from", "With --owe: finished on this day or later.")
]
LastFinished = Annotated[
    date | None, day_option("--to", "With --owe: finished on this day (UTC) or earlier.")
]
ParkedSince = Annotated[
    date | None, day_option("--since", "Only what was parked on this day (UTC) or later.")
]
ModalityOption = Annotated[
    str, typer.Option(help="Modalities, of which a study has at least one; `all` for every study.")
]
PeerOption = Annotated[
    str | None,
    typer.Option(help="Archive in the file of peers.", show_default="the one with `search`"),
]

SCREENS: dict[str, Callable[..., None]] = {}
"""The declaration of each screen's options, by "module:function"."""


def shown_by(screen: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a declaration: its options go to `screen` ("module:function") by name.

    The screen gets the settings first, and what it returns is the exit code. It is imported when the
    command runs: torch and DICOM would make every other command, and the help, take seconds.
    """

    def decorate(declaration: Callable[..., None]) -> Callable[..., None]:
        SCREENS[screen] = declaration
        module, name = screen.split(":")

        @wraps(declaration)
        def command(**options: object) -> None:
            show = getattr(import_module(module), name)
            raise typer.Exit(show(command_settings(), **options) or 0)

        return command

    return decorate


def command_settings() -> Settings:
    """Return the settings for a command that a person typed: logs are quiet, output is for reading."""
    from worker.logging import silence_noisy_libraries

    silence_noisy_libraries()
    settings = current_settings()
    set_umask(settings)
    return settings


def service_settings() -> Settings:
    """Return the settings for a process that runs on: it logs to standard error."""
    from worker.logging import configure_logging

    settings = current_settings()
    configure_logging(settings.log_level, settings.log_format)
    keep_private(settings)
    return settings
