"""The whole line into a real PACS: a study comes in, its result arrives there and is kept."""

from __future__ import annotations

import io
import urllib.request

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.builders.dicom import make_study
from tests.builders.installation import Installation
from tests.builders.orthanc import Orthanc, needs_orthanc
from tests.builders.ports import free_port
from tests.builders.waiting import scaled
from worker.intake.accept import accept_study

pytestmark = needs_orthanc

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
STUDY_UID = "1.2.826.0.1.3680043.8.498.99"


@pytest.fixture
def listen_port():
    return free_port()


@pytest.fixture
def pacs(tmp_path, listen_port):
    us = {
        "AET": "PNEUMO",
        "Host": "127.0.0.1",
        "Port": listen_port,
        "AllowStorageCommitment": True,
    }
    made = Orthanc(tmp_path / "pacs", {"DicomModalities": {"pneumo": us}, "Plugins": [PLUGIN]})
    made.start()
    yield made
    made.stop()


def peers_of(pacs, folder):
    path = folder / "peers.toml"
    path.write_text(
        f"""
        [archive]
        ae_title = "ORTHANC"
        host = "127.0.0.1"
        port = {pacs.dicom_port}
        results = "c-store"
        storage_commitment = true

        [web]
        dicomweb = "http://127.0.0.1:{pacs.http_port}/dicom-web"
        results = "stow-rs"
        """
    )
    return path


def test_results_are_found_under_the_patient_rendered_and_kept(
    install, pacs, tmp_path, listen_port
):
    installation: Installation = install(
        peers=peers_of(pacs, tmp_path), listen_port=listen_port, shadow=False
    )
    installation.start("worker.cli", "listen", log="listener")
    installation.start_relay()
    installation.start_worker()
    installation.start_worker(lanes="delivery")
    installation.wait_until_ready(workers=2)
    images = make_study(
        tmp_path / "in",
        n_instances=1,
        study_instance_uid=STUDY_UID,
        patient_id="P-99",
        patient_name="DOE^JANE",
    )
    for image in images:
        pacs.post("/instances", image.read_bytes())
    accept_study(images, database=installation.database, site=installation.settings)
    installation.wait_for(
        "delivered",
        lambda: (
            installation.rows("SELECT destination, state FROM result_delivery ORDER BY destination")
            == [("archive", "committed"), ("web", "sent")]
        ),
        within_s=90,
    )

    found = pacs.post(
        "/tools/find", b'{"Level":"Study","Query":{"PatientID":"P-99"},"Expand":true}'
    )
    (study,) = found
    assert study["MainDicomTags"]["StudyInstanceUID"] == STUDY_UID
    assert study["PatientMainDicomTags"]["PatientName"] == "DOE^JANE"
    series = [pacs.get(f"/series/{uid}") for uid in study["Series"]]
    by_modality = {one["MainDicomTags"]["Modality"]: one["Instances"] for one in series}
    assert {word: len(members) for word, members in by_modality.items()} == {
        "CR": 1, "OT": 1, "SR": 1,
    }  # fmt: skip

    capture = f"/instances/{by_modality['OT'][0]}"
    preview = Image.open(io.BytesIO(fetched(pacs, f"{capture}/preview")))
    kept = pydicom.dcmread(io.BytesIO(fetched(pacs, f"{capture}/file")))
    assert np.array_equal(np.asarray(preview), kept.pixel_array)
    assert preview.size == (1024, 1280)
    preview.save(tmp_path / "preview.png")
    logs = installation.ends_of_logs()
    assert STUDY_UID not in logs
    assert "DOE" not in logs


def fetched(pacs, path: str) -> bytes:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{pacs.http_port}{path}", timeout=scaled(10)
    ) as answer:
        return answer.read()
