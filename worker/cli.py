"""`pneumo`: the command line, and how it reports errors.

Torch and DICOM are imported inside the commands that need them, so that `pneumo status` answers at
once. Every command exits with 0 (all is well), 1 (something is not) or 2 (wrong usage), and reports
an error with a code and a sentence.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import is_transient
from db.vocabulary.errors import DatabaseRefusal
from worker.commands import admin, repair, run, show, submit, vocabulary
from worker.commands.options import MAKE
from worker.errors import PneumoError
from worker.logging import traceback_frames
from worker.settings import use_state_dir

app = typer.Typer(
    name="pneumo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Reads chest radiographs in bulk with a network, from a DICOM node to an audited prediction in SQL.

[bold]For research until it is cleared where it is used.[/]

Studies arrive by C-STORE, by `pneumo enqueue` or from Python. Each is a row in SQL before its sender is answered. A relay publishes the row's key to Redis; Celery workers claim the study, read and check its files, run the selected network, and store predictions and audit records in one transaction. If a process dies, the row says what is left to do.

Start with `pneumo demo`, then `pneumo up`. Settings are PNEUMO_* variables (docs/operators.md).
""",
    epilog="Results: `pneumo show STUDY` for one, `pneumo report` for all, or the v1_* views in SQL.",
)
for group in (run, submit, show, vocabulary, repair, admin):
    app.add_typer(group.commands)


def _print_version(asked: bool) -> None:
    if asked:
        Console().print(f"pneumo {version('pneumo')}")
        raise typer.Exit


@app.callback()
def _global_options(
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder of a single-machine installation [PNEUMO_STATE_DIR]."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    if state is not None:
        use_state_dir(state)


def main() -> None:
    """Run the console script: add the commands of other packages, turn errors into one sentence."""
    try:
        _add_commands_of_other_packages()
        app()
    except (PneumoError, DatabaseRefusal) as error:
        _refuse(error.code, error.sentence)
    except SQLAlchemyError as error:
        _refuse("DATABASE_NOT_READY", _why(error))
    except ModuleNotFoundError as error:
        _refuse(
            "EXTRA_NOT_INSTALLED",
            f"This command needs the package {error.name}. Install the extra that contains it: "
            "pip install 'pneumo[training]' or 'pneumo[demo]'.",
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  its text may quote a dataset: the frames are enough
        _refuse("BUG", f"{'; '.join(traceback_frames(error))}. Report this.")


def _refuse(code: str, sentence: str) -> NoReturn:
    """Print the error, and exit with 1."""
    Console(stderr=True).print(Text(code, style="bold red"), Text(sentence), soft_wrap=True)
    sys.exit(1)


def _add_commands_of_other_packages() -> None:
    """Add `pneumo train` and others by their entry points, so that worker/ never imports training/."""
    others = typer.Typer()
    for entry in entry_points(group="pneumo.commands"):
        others.command(entry.name, rich_help_panel=MAKE)(entry.load())
    app.add_typer(others)


def _why(error: SQLAlchemyError) -> str:
    """Say what a person can do about a database that does not work."""
    if is_transient(error):
        return (
            "The database does not answer. Check PNEUMO_DATABASE_URL (or --state) and that its "
            "server is running. Create a new installation with `pneumo migrate` or `pneumo up`."
        )
    return (
        f"The database reported an error ({type(error).__qualname__}). If it is new or of another version, "
        "run `pneumo migrate`."
    )


if __name__ == "__main__":
    main()
