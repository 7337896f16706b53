"""A site that delivers results, and the PACS that take them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import _config

from db.engine.session import Database
from tests.builders.delivering_site import DeliveringSite
from tests.builders.pacs import Pacs
from tests.builders.waiting import scaled
from tests.builders.worker_runtime import make_settings, random_network, start_runtime, write_bundle
from worker.delivery.runtime import DeliveryRuntime
from worker.pipeline.runtime import Runtime
from worker.settings import Settings


@pytest.fixture
def settings(tmp_path, migrated) -> Settings:
    """Settings with a migrated SQLite database of the test's own; its broker does not answer."""
    shutil.copy(migrated, tmp_path / "pneumo.sqlite")
    return make_settings(tmp_path, broker_url="redis://127.0.0.1:1/0")


@pytest.fixture
def database(settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    yield database
    database.dispose()


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[Callable[..., Runtime]]:
    """A factory of runtimes: `start(bundle, shadow_bundle, **settings)`, see `start_runtime`."""
    running: list[Runtime] = []

    def start_one(*bundles: Path, **settings) -> Runtime:
        folder = tmp_path_factory.mktemp("site")
        running.append(start_runtime(make_settings(folder, **settings), *bundles))
        return running[-1]

    yield start_one
    for runtime in reversed(running):
        runtime.close()


@pytest.fixture(scope="module")
def runtime(start, tmp_path_factory) -> Runtime:
    """A runtime on a network with random weights and without a guard."""
    return start(write_bundle(tmp_path_factory.mktemp("bundle"), random_network(1)))


@pytest.fixture(scope="session")
def sender(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sender")
    settings = make_settings(
        folder / "site",
        peers=folder / "peers.toml",
        # So short that whatever was put off is due at the next look.
        retry_base_s=0.0001,
        delivery_retry_ceiling_s=0.001,
        delivery_refusals=2,
        delivery_timeout_s=scaled(10),
    )
    (folder / "peers.toml").write_text("")
    predicting = start_runtime(settings, write_bundle(folder, random_network(1)))
    runtime = DeliveryRuntime(settings)
    yield DeliveringSite(runtime, predicting)
    runtime.close()
    predicting.close()


@pytest.fixture
def pacs(monkeypatch) -> Callable[..., Pacs]:
    """A factory of PACS; those that run are stopped with the test."""
    # A listener of an earlier test of this process may have set it; a PACS takes what it lists.
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    made: list[Pacs] = []

    def make(**values) -> Pacs:
        made.append(Pacs(**values))
        return made[-1].start()

    yield make
    for item in made:
        item.stop()
