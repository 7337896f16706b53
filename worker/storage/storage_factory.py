"""The site's intake folder, made with its first file and never again.

A folder that is away (renamed, a mount that is missing after a start) must not be made anew: senders
would hear yes for files on the wrong disk, which are hidden as soon as the right one is back. No mark is
needed to tell the two apart. A folder in use holds `incoming`, which nothing ever removes; a database
that knows images had an intake folder. So `incoming` is made only where the database knows no image: on
one machine, in compose and for a test's empty site alike. Where both are on the disk that is missing
(SQLite inside PNEUMO_STATE_DIR), a start without it looks like a new site, and is one.

A worker that fetches does likewise: on the listener's machine it would else make the folder that the
listener refuses to make, and end that refusal. Only a node that is said to have a disk of its own
(PNEUMO_OWN_DISK) makes its folder whatever the database knows: it joins later, and nobody sends to it.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database, is_transient
from db.studies.overview import has_instances
from worker.errors import Transient
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage


def intake_storage(settings: Settings, database: Database) -> IntakeStorage:
    """For everybody who takes over what is sent; whoever only reads needs no database."""
    return IntakeStorage(settings.intake_dir, may_create_folder=lambda: _is_new(database))


def retrieve_storage(settings: Settings, database: Database) -> IntakeStorage:
    """For a worker, which fetches to its own disk or to the one that it shares with the listener."""
    return IntakeStorage(
        settings.intake_dir,
        may_create_folder=lambda: may_create_retrieve_folder(settings, database),
    )


def may_create_retrieve_folder(settings: Settings, database: Database) -> bool:
    """Whether a worker makes an intake folder that is not there. Raises Transient DATABASE_AWAY."""
    return settings.own_disk or _is_new(database)


def _is_new(database: Database) -> bool:
    try:
        with database.reading() as session:
            return not has_instances(session)
    except SQLAlchemyError as error:
        if not is_transient(error):
            raise
        raise Transient(
            "DATABASE_AWAY",
            "The intake folder is not there, and the database did not say whether it ever was. "
            "Check that it runs (PNEUMO_DATABASE_URL) and send again.",
        ) from None
