"""A delivery worker killed in mid-send: the result is sent again, and the PACS has each object once."""

from __future__ import annotations

import threading

import pytest
from pydicom.dataset import Dataset

from tests.builders.dicom import write_instance
from tests.builders.installation import Installation
from tests.builders.pacs import Pacs
from tests.builders.waiting import scaled
from tests.builders.worker_runtime import accept_files, random_network, start_runtime, write_bundle
from worker.pipeline.process_study import process_study


class HangingPacs(Pacs):
    """It accepts the first object, then does not answer until `let_go` is set."""

    def _store(self, event):
        if len(self.received) == 1 and not self.let_go.is_set():
            self.reached.set()
            self.let_go.wait(scaled(60))
        return super()._store(event)


@pytest.fixture
def pacs():
    made = HangingPacs()
    made.reached, made.let_go = threading.Event(), threading.Event()
    yield made.start()
    made.let_go.set()
    made.stop()


def test_a_killed_delivery_is_sent_again_and_arrives_once(install, pacs, tmp_path):
    peers = tmp_path / "peers.toml"
    peers.write_text(pacs.table())
    installation: Installation = install(peers=peers, shadow=False)
    first = installation.start_worker(lanes="delivery")
    installation.wait_until_ready()
    installation.start_relay()
    installation.wait_for(
        "the destination known",
        lambda: installation.one("SELECT count(*) FROM result_destination") == 1,
        within_s=60,
    )
    predicting = start_runtime(installation.settings, write_bundle(tmp_path, random_network(1)))
    process_study(accept_files(predicting, write_instance(tmp_path / "a.dcm")), predicting)
    predicting.close()

    assert pacs.reached.wait(scaled(60)), installation.ends_of_logs()
    installation.kill(first)
    pacs.let_go.set()
    installation.start_worker(lanes="delivery")
    installation.wait_for(
        "sent again",
        lambda: installation.one("SELECT state FROM result_delivery") == "sent",
        within_s=60,
    )
    assert installation.one("SELECT attempts FROM result_delivery") == 2
    by_uid: dict[str, list[Dataset]] = {}
    for dataset in pacs.received:
        by_uid.setdefault(dataset.SOPInstanceUID, []).append(dataset)
    assert len(by_uid) == 2
    assert all(copies.count(copies[0]) == len(copies) for copies in by_uid.values())
    events = "SELECT count(*) FROM audit_record WHERE event = 'result_sent'"
    assert installation.one(events) == 1
