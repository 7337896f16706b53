"""Orthanc with our script: every stable study arrives, also one that came while we were away, and
none keeps another up. The second half has a receiver of its own, which waits and refuses as it is
told."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.builders.dicom import make_study, write_instance
from tests.builders.orthanc import Orthanc, needs_orthanc
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from worker.listener.storage_scp import echo

pytestmark = needs_orthanc

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "orthanc" / "pneumo.lua"


@pytest.fixture
def installation(install):
    return install()


@pytest.fixture
def pacs(tmp_path, installation):
    made = Orthanc(
        tmp_path / "pacs",
        {
            "LuaScripts": [str(SCRIPT)],
            "DicomModalities": {
                "pneumo": ["PNEUMO", "127.0.0.1", installation.settings.listen_port]
            },
        },
        {"PNEUMO_WAITING": str(tmp_path / "waiting.txt")},
    )
    made.start()
    yield made
    made.stop()


def arrived(installation) -> set[str]:
    return {uid for (uid,) in installation.rows("SELECT study_instance_uid FROM study")}


def give(pacs, folder: Path, uid: str, **values) -> None:
    for path in make_study(folder / uid, n_instances=2, study_instance_uid=uid, **values):
        pacs.post("/instances", path.read_bytes())


def test_stable_studies_arrive_also_those_of_an_outage_and_a_restart(installation, pacs, tmp_path):
    waiting = tmp_path / "waiting.txt"
    give(pacs, tmp_path, "1.2.3.1")  # nobody listens yet
    installation.wait_for("noted", waiting.exists, within_s=20)
    installation.wait_for("tried in vain", lambda: "will be sent again" in pacs.log(), within_s=30)
    assert len(waiting.read_text().split()) == 1
    pacs.stop()
    installation.start("worker.cli", "listen", log="listener")
    installation.wait_for("we listen", lambda: echo(installation.settings), within_s=60)
    pacs.start()

    give(pacs, tmp_path, "1.2.3.2")
    give(pacs, tmp_path, "1.2.3.3", modality="US", sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1")

    installation.wait_for(
        "both", lambda: arrived(installation) == {"1.2.3.1", "1.2.3.2"}, within_s=40
    )
    installation.wait_for("the list is empty", lambda: not waiting.read_text(), within_s=20)
    assert installation.one("SELECT count(*) FROM instance") == 4
    assert "1.2.3" not in pacs.log().replace("127.0.0.1", "")


REFUSED_FOR_GOOD = "1.2.3.9."


@dataclass
class Receiver:
    """In pneumo's place: holds what it is told to hold, refuses what can never be taken."""

    arrived: list[str] = field(default_factory=list)
    """SOP Instance UIDs that were answered with yes."""
    tries: Counter = field(default_factory=Counter)
    """Study Instance UID -> how many of its instances were offered."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Nothing is answered before it is set."""

    def start(self) -> int:
        """The port it listens on."""
        port, unit = free_port(), AE(ae_title="PNEUMO")
        unit.supported_contexts = AllStoragePresentationContexts
        handlers = [(evt.EVT_C_STORE, self._store)]
        self.server = unit.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        return port

    def _store(self, event: Any) -> int:
        study = str(event.dataset.StudyInstanceUID)
        self.tries[study] += 1
        self.go_on.wait(scaled(60))
        if study.startswith(REFUSED_FOR_GOOD):
            return 0xC000
        self.arrived.append(str(event.dataset.SOPInstanceUID))
        return 0x0000


@pytest.fixture
def receiver():
    made = Receiver()
    made.port = made.start()
    yield made
    made.go_on.set()
    made.server.shutdown()


@pytest.fixture
def sender(tmp_path, receiver):
    """An Orthanc that sends to it; its heart beats when a test says so, as newer ones do."""
    made = Orthanc(
        tmp_path / "pacs",
        {
            "LuaScripts": [str(SCRIPT)],
            "ExecuteLuaEnabled": True,
            "DicomModalities": {"pneumo": ["PNEUMO", "127.0.0.1", receiver.port]},
        },
        {"PNEUMO_WAITING": str(tmp_path / "waiting.txt"), "PNEUMO_RETRY_S": "3"},
    )
    made.start()
    yield made
    made.stop()


def give_one(pacs, folder: Path, study: str, instance: str) -> None:
    values = {"study_instance_uid": study, "series_instance_uid": f"{study}.1"}
    file = write_instance(folder / f"{instance}.dcm", sop_instance_uid=instance, **values)
    pacs.post("/instances", file.read_bytes())


def test_an_image_that_came_while_its_study_was_on_its_way_arrives(receiver, sender, tmp_path):
    waiting = tmp_path / "waiting.txt"
    give_one(sender, tmp_path, "1.2.3.5", "1.2.3.5.1.1")
    wait_until(lambda: receiver.tries["1.2.3.5"] == 1)  # the job has its list of instances
    written = waiting.stat().st_ino

    give_one(sender, tmp_path, "1.2.3.5", "1.2.3.5.1.2")
    wait_until(lambda: waiting.stat().st_ino != written)  # stable again, and noted
    receiver.go_on.set()

    wait_until(lambda: set(receiver.arrived) == {"1.2.3.5.1.1", "1.2.3.5.1.2"})
    wait_until(lambda: not waiting.read_text())


def test_studies_that_can_never_be_delivered_keep_nothing_up(receiver, sender, tmp_path):
    receiver.go_on.set()
    never = [f"{REFUSED_FOR_GOOD}{number}" for number in range(4)]
    for study in never:
        give_one(sender, tmp_path, study, f"{study}.1.1")
    wait_until(lambda: all(receiver.tries[study] for study in never))

    give_one(sender, tmp_path, "1.2.3.5", "1.2.3.5.1.1")

    wait_until(lambda: receiver.arrived == ["1.2.3.5.1.1"])
    before = dict(receiver.tries)

    def beat_until_tried_again() -> bool:
        sender.post("/tools/execute-script", b"OnHeartBeat() print(1)")
        return all(receiver.tries[study] > before[study] for study in never)

    wait_until(beat_until_tried_again)
    assert len((tmp_path / "waiting.txt").read_text().split()) == 4
