"""What several commands share: options, headings of the help, settings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from db.vocabulary.enums import Priority
from worker.settings import Settings, current_settings

RUN, SEND, LOOK, MEND, MAKE, KEEP = (
    "Run an installation",
    "Send studies",
    "Look at what happened",
    "Mend what went wrong",
    "Make and compare models",
    "Keep models and data",
)

StudyArgument = Annotated[
    str, typer.Argument(help="Study key, the beginning of one, or a Study Instance UID.")
]

PriorityOption = Annotated[Priority, typer.Option(help="stat goes first.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Stay until there are results.")]
TimeoutOption = Annotated[float, typer.Option(help="Longest wait in seconds.")]
FirstDay = Annotated[
    datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First study date, 2026-01-01.")
]
LastDay = Annotated[
    datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last study date, included.")
]
FirstFinished = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="With --owe: finished on this day or later."),
]
LastFinished = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="With --owe: last such day, UTC."),
]
ModalityOption = Annotated[
    str, typer.Option(help="Of which a study has one; `all` for every study.")
]
PeerOption = Annotated[
    str | None,
    typer.Option(help="Archive in the file of peers.  [default: the one with `search`]"),
]


def command_settings() -> Settings:
    """Settings for a command that a person typed: quiet logs, output is for reading."""
    from worker.logging import silence_noisy_libraries

    silence_noisy_libraries()
    return current_settings()


def service_settings() -> Settings:
    """Settings for a process that runs: logs to standard error."""
    from worker.logging import configure_logging

    settings = current_settings()
    configure_logging(settings.log_level, settings.log_format)
    return settings


def confirm(words: str) -> None:
    """Go on only if the person says yes."""
    typer.confirm(words, abort=True)
