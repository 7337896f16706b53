"""`pneumo`: one file of thin commands over plain functions.

Torch and DICOM are imported inside the commands that need them, so that `pneumo status` answers at
once. Every command ends with 0 (as it should be), 1 (it is not) or 2 (asked wrongly), and refuses
with a code and a sentence.
"""

from __future__ import annotations

import sys
from datetime import datetime
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from db.enums import Priority
from db.errors import DatabaseRefusal
from db.session import is_transient
from worker.errors import PneumoError
from worker.logging import frames_of
from worker.settings import Settings, settings, use_state_dir

RUN, SEND, LOOK, MEND, MAKE, KEEP = (
    "Run an installation",
    "Send studies",
    "Look at what happened",
    "Mend what went wrong",
    "Make and compare models",
    "Keep models and data",
)

app = typer.Typer(
    name="pneumo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Reads chest radiographs in bulk with a network, from a DICOM node to an audited prediction in SQL.

[bold]For research until it is cleared where it is used.[/]

A study comes in by C-STORE, by `pneumo enqueue` or from Python. It is a row before its sender is told yes; a relay publishes the row's key to Redis; Celery workers claim it, read and judge its files, run the selected network, and store predictions and audit records in one transaction. Whatever dies on the way, the row knows.

Start with `pneumo demo`, then `pneumo up`. Settings are PNEUMO_* variables (docs/operators.md).
""",
    epilog="Results: `pneumo show STUDY` for one, `pneumo report` for all, or the v1_* views in SQL.",
)
audit_app = typer.Typer(no_args_is_help=True, help="The tamper-evident record of what was done.")
model_app = typer.Typer(no_args_is_help=True, help="Model versions: registered, active.")
app.add_typer(audit_app, name="audit", rich_help_panel=LOOK)
app.add_typer(model_app, name="model", rich_help_panel=KEEP)

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


def _say_version(asked: bool) -> None:
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
        typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    if state is not None:
        use_state_dir(state)


# -- Run an installation ------------------------------------------------------------------------


@app.command(rich_help_panel=RUN)
def demo() -> None:
    """Send real studies through the whole line on this machine and show what came of them."""
    from worker.operations.demo import run_demo

    raise typer.Exit(run_demo())


@app.command(rich_help_panel=RUN)
def up(
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Decoding threads of the worker.")
    ] = 4,
) -> None:
    """Run everything on this machine until Ctrl-C: broker, listener, relay, workers.

    State lives in one folder (--state); starting again finds everything again.
    """
    from worker.operations.up import run_up

    raise typer.Exit(run_up(_site(), concurrency=concurrency))


@app.command(rich_help_panel=RUN)
def listen() -> None:
    """Receive studies by DICOM C-STORE until stopped."""
    from worker.intake.listener import run

    run(_service())


@app.command(rich_help_panel=RUN)
def relay() -> None:
    """Publish what is due, take back the studies of dead workers, close idle studies."""
    from worker.intake.relay import run

    run(_service())


@app.command(rich_help_panel=RUN)
def migrate(
    revision: Annotated[
        str, typer.Argument(help="Where to: `head`, or `base` to undo all.")
    ] = "head",
) -> None:
    """Bring the database to this version's tables and views."""
    from db.migrate import current, downgrade, upgrade

    site = _site()
    site.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    url = site.database_url
    if revision == "base":
        downgrade(url, revision)
    else:
        upgrade(url, revision)
    Console().print(f"The database stands at {current(url) or 'base'}.")


@app.command(rich_help_panel=RUN)
def health(
    part: Annotated[str, typer.Argument(help="worker, relay, listener or watch")],
) -> None:
    """Say whether a part on this machine is alive (exit code 0) or not (1)."""
    from worker.operations.health import check

    result = check(part, _site())
    Console().print(result.sentence)
    raise typer.Exit(0 if result.healthy else 1)


# -- Send studies -------------------------------------------------------------------------------


@app.command(rich_help_panel=SEND)
def enqueue(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files, or folders of them.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="What the studies consist of (JSON, or DICOM Key Objects): waited for."),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(help="Instead of files: base URL of a DICOMweb server, asked by WADO-RS."),
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="With --dicomweb: Study Instance UID; may be repeated.")
    ] = None,
    priority: PriorityOption = Priority.ROUTINE,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Take DICOM files over; files of one study become one study, however they are named.

    Or have studies fetched from a DICOMweb server: --dicomweb URL --study UID.
    """
    if bool(paths or manifest) == bool(dicomweb) or bool(dicomweb) != bool(study):
        raise typer.BadParameter("give files or folders, or --dicomweb URL with --study UID")
    if dicomweb:
        from worker.operations.ordering import order_and_show

        raise typer.Exit(
            order_and_show(
                _site(),
                study or [],
                dicomweb=dicomweb,
                priority=priority,
                wait_s=timeout if wait else None,
            )
        )
    from worker.operations.sending import enqueue_and_show

    raise typer.Exit(
        enqueue_and_show(
            _site(),
            paths or [],
            manifest=manifest,
            priority=priority,
            wait_s=timeout if wait else None,
        )
    )


@app.command(rich_help_panel=SEND)
def pull(
    study: Annotated[
        list[str], typer.Option(help="Study Instance UID; may be repeated.", show_default=False)
    ],
    from_peer: Annotated[
        str | None,
        typer.Option(help="Archive in the file of peers.  [default: the one with `retrieve`]"),
    ] = None,
    priority: PriorityOption = Priority.ROUTINE,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Have studies fetched from the PACS: by C-GET, C-MOVE or WADO-RS, as PNEUMO_PEERS says."""
    from worker.operations.ordering import order_and_show

    raise typer.Exit(
        order_and_show(
            _site(), study, peer=from_peer, priority=priority, wait_s=timeout if wait else None
        )
    )


@app.command(rich_help_panel=SEND)
def backfill(
    first: FirstDay,
    last: LastDay,
    modality: ModalityOption = "CR,DX",
    rate: Annotated[str, typer.Option(help="Most studies ordered: 30/min, 2/s, 500/h.")] = "30/min",
    window: Annotated[
        str | None, typer.Option(help="Only at these hours, e.g. 20:00-06:00.")
    ] = None,
    outstanding: Annotated[
        int, typer.Option(min=1, help="So many ordered studies may wait or run at once.")
    ] = 50,
    peer: PeerOption = None,
) -> None:
    """Have everything fetched that the PACS has of these days and that is not known here.

    Ctrl-C and the same command again: it goes on where it was.
    """
    from worker.operations.backfill_screen import backfill_and_show

    raise typer.Exit(
        backfill_and_show(
            _site(),
            first=first.date(),
            last=last.date(),
            modalities=modality,
            rate=rate,
            window=window,
            outstanding=outstanding,
            peer=peer,
        )
    )


@app.command(rich_help_panel=SEND)
def watch(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to watch.  [default: PNEUMO_WATCH_FOLDER]")
    ] = None,
) -> None:
    """Take over DICOM files that are put into a folder, until stopped; taken files leave it."""
    from worker.intake.watching import run

    run(_service(), folder)


# -- Look at what happened ----------------------------------------------------------------------


@app.command(rich_help_panel=LOOK)
def status() -> None:
    """What waits, what runs, who works, what needs a person."""
    from worker.operations.screens import show_status

    show_status(_site())


@app.command(rich_help_panel=LOOK)
def show(study: StudyArgument) -> None:
    """One study: verdict, instances, refusals, attempts, audit records."""
    from worker.operations.study_screen import show_study

    raise typer.Exit(show_study(_site(), study))


@app.command(rich_help_panel=LOOK)
def results(
    study: StudyArgument,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the files.  [default: results-STUDY]")
    ] = None,
) -> None:
    """Write a study's result as DICOM: a structured report, and captures with Grad-CAM."""
    from worker.operations.result_files import show_results

    raise typer.Exit(show_results(_site(), study, output))


@app.command(rich_help_panel=LOOK)
def deliveries(
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="With --retry, --forgo: delivery keys (or beginnings)."),
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="List each parked one.")] = False,
    again: Annotated[
        bool, typer.Option("--retry", help="Send parked ones round again: all, or those named.")
    ] = False,
    destination: Annotated[str | None, typer.Option(help="Only of this destination.")] = None,
    owe: Annotated[
        bool,
        typer.Option(
            "--owe", help="Send results of studies that finished before --destination was named."
        ),
    ] = False,
    first: FirstFinished = None,
    last: LastFinished = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --owe, --forgo: only say how many.")
    ] = False,
    forgo: Annotated[
        bool,
        typer.Option(
            "--forgo",
            help="Never send those named: keys of deliveries or studies, a --destination.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --forgo: do not ask.")] = False,
) -> None:
    """Results on their way to the PACS: by destination and state, what is parked and why."""
    from worker.operations.delivery_screen import retry_deliveries, show_deliveries

    if forgo:
        from worker.operations.forgo_screen import forgo_and_show

        raise typer.Exit(
            forgo_and_show(
                _site(),
                keys or [],
                asked=not (again or parked or owe or first or last),
                destination=destination,
                dry_run=dry_run,
                sure=lambda words: None if yes else _ask(words),
            )
        )
    if owe or first or last or dry_run:
        from worker.operations.belated_screen import owe_and_show

        raise typer.Exit(
            owe_and_show(
                _site(),
                asked=owe and not (again or parked or keys),
                destination=destination,
                first=first.date() if first else None,
                last=last.date() if last else None,
                dry_run=dry_run,
            )
        )
    if again:
        raise typer.Exit(retry_deliveries(_site(), keys or [], destination=destination))
    show_deliveries(_site(), parked=parked, destination=destination)


@app.command(rich_help_panel=LOOK)
def report() -> None:
    """The analysts' views: studies, predictions, refusals by code, turn-around by priority."""
    from worker.operations.report_screen import show_report

    show_report(_site())


@app.command(rich_help_panel=LOOK)
def coverage(
    first: FirstDay,
    last: LastDay,
    modality: ModalityOption = "CR,DX",
    peer: PeerOption = None,
    listing: Annotated[
        Path | None,
        typer.Option("--list", help="Write the Study Instance UIDs never seen into this file."),
    ] = None,
) -> None:
    """Of what the PACS has: predicted, refused and why, failed, waiting, never seen."""
    from worker.operations.coverage_screen import show_coverage

    raise typer.Exit(
        show_coverage(
            _site(),
            first=first.date(),
            last=last.date(),
            modalities=modality,
            peer=peer,
            listing=listing,
        )
    )


@audit_app.command("verify")
def audit_verify() -> None:
    """Recompute the hash chain; names the first record that does not fit and exits with 1."""
    from worker.operations.screens import show_audit_report

    raise typer.Exit(show_audit_report(_site()))


# -- Mend what went wrong -----------------------------------------------------------------------


@app.command(rich_help_panel=MEND)
def retry(
    studies: Annotated[list[str] | None, typer.Argument(help="Study keys (or beginnings).")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Every parked study.")] = False,
    code: Annotated[
        str | None, typer.Option(help="With --parked: only those with this code.")
    ] = None,
) -> None:
    """Try parked studies again, once the cause is mended."""
    from worker.operations.mending import retry_studies

    raise typer.Exit(retry_studies(_site(), studies or [], all_parked=parked, code=code))


# -- Keep models and data -----------------------------------------------------------------------


@model_app.command("list")
def model_list() -> None:
    """Registered model versions; the active one is marked."""
    from worker.operations.screens import show_models

    show_models(_site())


@model_app.command("register")
def model_register(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, as training wrote it.")],
) -> None:
    """Verify a bundle, copy it into the installation and record it."""
    from worker.operations.mending import register

    register(_site(), bundle)


@model_app.command("activate")
def model_activate(
    name: Annotated[str, typer.Argument(help="e.g. resnet50-0.2.0")],
) -> None:
    """Let workers predict with this version from now on; running workers follow within seconds."""
    from worker.operations.mending import activate

    activate(_site(), name)


@model_app.command("shadow")
def model_shadow(
    name: Annotated[str, typer.Argument(help="e.g. vgg16-0.2.0, or none")],
) -> None:
    """Let a second version predict beside the active one; it decides nothing."""
    from worker.operations.mending import set_shadow

    set_shadow(_site(), name)


@app.command(rich_help_panel=KEEP)
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would leave.")] = False,
) -> None:
    """Let the files of studies finished long ago leave, and what dead processes left behind."""
    from worker.operations.tidy import show_tidying

    raise typer.Exit(show_tidying(_site(), dry_run=dry_run))


@app.command(rich_help_panel=KEEP)
def erase(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a study's patient id and accession number; predictions and audit stay."""
    from worker.operations.mending import erase_identity_of

    if not yes:
        typer.confirm("Erase patient id and accession number of this study for good?", abort=True)
    raise typer.Exit(erase_identity_of(_site(), study))


def _ask(words: str) -> None:
    typer.confirm(words, abort=True)


# -- The edge -----------------------------------------------------------------------------------


def _site() -> Settings:
    """Settings for a command that a person typed: quiet logs, output is for reading."""
    from worker.logging import close_talkative_libraries

    close_talkative_libraries()
    return settings()


def _service() -> Settings:
    """Settings for a process that runs: logs to standard error."""
    from worker.logging import configure_logging

    site = settings()
    configure_logging(site.log_level, site.log_format)
    return site


def main() -> None:
    """Console script: commands of other packages are added, errors become one sentence."""
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
            f"This command needs the package {error.name}. Install the extra that has it: "
            "pip install 'pneumo[training]' or 'pneumo[demo]'.",
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  what it says may quote a dataset: its frames suffice
        _refuse("BUG", f"{'; '.join(frames_of(error))}. Report this.")


def _refuse(code: str, sentence: str) -> NoReturn:
    """Say why not, and end with 1."""
    Console(stderr=True).print(Text(code, style="bold red"), Text(sentence), soft_wrap=True)
    sys.exit(1)


def _add_commands_of_other_packages() -> None:
    """`pneumo train` and its like: known by entry point alone, so worker/ never imports training/."""
    for entry in entry_points(group="pneumo.commands"):
        app.command(entry.name, rich_help_panel=MAKE)(entry.load())


def _why(error: SQLAlchemyError) -> str:
    """What a person can do about a database that does not answer as it should."""
    if is_transient(error):
        return (
            "The database does not answer. Check PNEUMO_DATABASE_URL (or --state) and that its "
            "server runs; a new installation begins with `pneumo migrate` or `pneumo up`."
        )
    return (
        f"The database refused ({type(error).__qualname__}). If it is new or of another version, "
        "run `pneumo migrate`."
    )


if __name__ == "__main__":
    main()
