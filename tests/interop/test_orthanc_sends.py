"""Orthanc with our script: every stable study arrives, also one that came while we were away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import make_study
from tests.interop.orthanc import Orthanc, needs_orthanc
from worker.intake.listener import echo

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
            "DicomModalities": {"pneumo": ["PNEUMO", "127.0.0.1", installation.site.listen_port]},
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
    installation.wait_for("we listen", lambda: echo(installation.site), within_s=60)
    pacs.start()

    give(pacs, tmp_path, "1.2.3.2")
    give(pacs, tmp_path, "1.2.3.3", modality="US", sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1")

    installation.wait_for(
        "both", lambda: arrived(installation) == {"1.2.3.1", "1.2.3.2"}, within_s=40
    )
    installation.wait_for("the list is empty", lambda: not waiting.read_text(), within_s=20)
    assert installation.one("SELECT count(*) FROM instance") == 4
    assert "1.2.3" not in pacs.log().replace("127.0.0.1", "")
