"""The site's intake folder, created with its first file and never again.

A folder that is missing (renamed, a mount that failed after a start) must not be created anew: senders
would get success for files on the wrong disk, which are hidden as soon as the right one is mounted. No
marker file is needed. A folder in use holds `incoming`, which nothing ever removes; a database that
knows images had an intake folder. So `incoming` is created only where the database knows no image: on
one machine, in compose and for a test's empty site alike. Where both are on the disk that is missing
(SQLite inside PNEUMO_STATE_DIR), a start without it looks like a new site, and is one.

A worker that retrieves follows the same rule: on the listener's machine it would otherwise create the
folder that the listener refuses to create. Only a node that is declared to have a disk of its own
(PNEUMO_OWN_DISK) creates its folder whatever the database knows: it joins later, and nobody sends to it.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database, is_transient
from db.studies.overview import has_instances
from worker.errors import Transient
from worker.settings import Settings
from worker.storage.disk import refuse_when_writing_exhausts
from worker.storage.intake_folder import IntakeStorage


def intake_storage(settings: Settings, database: Database) -> IntakeStorage:
    """Return the storage for whatever accepts files; the disk level is checked while they are written."""
    return IntakeStorage(
        settings.intake_dir,
        may_create_folder=lambda: _is_new(database),
        check_room=lambda: refuse_when_writing_exhausts(settings),
    )


def retrieve_storage(settings: Settings, database: Database) -> IntakeStorage:
    """Return the storage of a worker, on a disk of its own or on the one shared with the listener."""
    return IntakeStorage(
        settings.intake_dir,
        may_create_folder=lambda: may_create_retrieve_folder(settings, database),
    )


def may_create_retrieve_folder(settings: Settings, database: Database) -> bool:
    """Return whether a worker may create a missing intake folder. Raises Transient DATABASE_AWAY."""
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
            "The intake folder is missing, and the database did not answer whether it ever existed. "
            "Check that the database runs (PNEUMO_DATABASE_URL) and send again.",
        ) from None
