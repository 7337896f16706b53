"""Orders and their fetching at a test's site, without a network's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from db.studies.claims import claim
from db.studies.publication import due_for_publication
from db.values import Claim
from db.vocabulary.enums import Lane, Priority
from tests.builders.site import Site
from worker.archive.order import order_study
from worker.archive.retrieve.retriever import Retriever
from worker.errors import PneumoError
from worker.imaging.reading import read_header
from worker.pipeline.failures import FailureOutcome, handle_failure
from worker.storage.intake_folder import IntakeStorage
from worker.storage.storage_factory import retrieve_storage


def change_settings(site: Site, **settings) -> Site:
    """The same site, changed."""
    site.settings = site.settings.model_copy(update=settings)
    return site


def configure_peers(site: Site, folder: Path, text: str, **settings) -> Site:
    """The same site with these systems around it."""
    path = folder / "peers.toml"
    path.write_text(text)
    return change_settings(site, peers=path, **settings)


@dataclass
class FetchingNode:
    """A worker's node: its own disk, or the listener's; no model, as none is needed to fetch."""

    site: Site
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.database = self.site.database
        self.settings = self.site.settings
        shared = retrieve_storage(self.settings, self.database)
        self.storage = IntakeStorage(self.folder) if self.folder else shared
        self.retriever = Retriever(self.settings, self.database, self.storage)

    def order(self, uid: str, **where) -> str:
        return order_study(uid, database=self.database, settings=self.settings, **where).study_key

    def claim(self, key: str) -> Claim:
        """The right to work on a study, its waiting time cut short."""
        with self.database.transaction() as session:
            session.execute(
                text(
                    "UPDATE study SET due_at = received_at WHERE study_key = :key"
                    " AND state = 'accepted'"
                ),
                {"key": key},
            )
        with self.database.transaction() as session:
            taken = claim(session, key, worker_name="w-test", lease_s=60)
        assert taken is not None
        return taken

    def failure_of(self, uid: str) -> PneumoError:
        """Order a study and return the error that its fetch raises."""
        taken = self.claim(self.order(uid))
        with pytest.raises(PneumoError) as met:
            self.retriever.ensure_images(taken)
        return met.value

    def fetch(self, key: str) -> Claim:
        """Claim a study and fetch its images."""
        return self.retriever.ensure_images(self.claim(key))

    def held(self, key: str) -> Claim:
        """The claim that a failed attempt still holds."""
        study = self.study(key)
        return Claim(
            study_id=study["id"],
            study_key=key,
            token=study["attempts"],
            revision=study["revision"],
            retries=study["retries"],
            priority=Priority(study["priority"]),
            lane=Lane(study["lane"]),
            worker_name="w-test",
            instances=(),
        )

    def settle(self, taken: Claim, error: Exception) -> FailureOutcome:
        """What a worker does with a failed attempt."""
        return handle_failure(taken, error, self.database, self.settings)

    def uids_on_disk(self, taken: Claim) -> set[str]:
        return {
            read_header(self.storage.path_of(instance.file_name)).sop_instance_uid
            for instance in taken.instances
        }

    def study(self, key: str) -> dict:
        with self.database.reading() as session:
            found = session.execute(
                text("SELECT * FROM study WHERE study_key = :key"), {"key": key}
            )
            return dict(found.mappings().one())

    def events(self, key: str) -> list[str]:
        return [
            event
            for (event,) in self.site.rows(
                "SELECT event FROM audit_record WHERE study_key = :key ORDER BY sequence", key=key
            )
        ]

    def conditions(self) -> dict[str, str]:
        """Subject -> code of what holds now."""
        return dict(
            self.site.rows("SELECT subject, code FROM site_condition WHERE ended_at IS NULL")
        )

    def due(self) -> list[str]:
        with self.database.transaction() as session:
            return [key for key, _ in due_for_publication(session, limit=9, requeue_after_s=60)]
