"""Our result objects in Orthanc: under the right patient, rendered, and once."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.builders.dicom import chest_like_pixels
from tests.builders.orthanc import Orthanc, needs_orthanc
from tests.builders.results import STUDY_UID, make_header, make_result, predicted_instance
from tests.builders.sample_results import require_tool, run_tool, write_results
from worker.results.build import to_bytes

pytestmark = needs_orthanc


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    settings = {"DefaultEncoding": "Utf8", "DicomCheckCalledAet": False}
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"), settings)
    orthanc.start()
    yield orthanc
    orthanc.stop()


def test_orthanc_files_results_under_the_patient_and_renders_the_capture(pacs, tmp_path):
    source = make_header(patient_name="Müller^Jörg", patient_id="P-77", SpecificCharacterSet="ISO_IR 100",
                       pixels=chest_like_pixels(320, 288))  # fmt: skip
    read = pydicom.dcmread(io.BytesIO(to_bytes(source)))
    image = tmp_path / "image.dcm"
    image.write_bytes(to_bytes(source))
    paths = write_results(make_result(replace(predicted_instance(0.9), header=read)), tmp_path)
    said = run_tool(
        *(
            require_tool("storescu"),
            "-R",
            "127.0.0.1",
            str(pacs.dicom_port),
            str(image),
            *map(str, paths),
        )
    )
    assert said.returncode == 0, said.stderr

    asked = {"Level": "Study", "Query": {"PatientID": "P-77"}, "Expand": True}
    (study,) = pacs.find(asked)
    assert study["PatientMainDicomTags"]["PatientName"] == "Müller^Jörg"
    assert study["MainDicomTags"]["StudyInstanceUID"] == STUDY_UID
    series = [pacs.get(f"/series/{uid}") for uid in study["Series"]]
    assert sorted(s["MainDicomTags"]["Modality"] for s in series) == ["CR", "OT", "SR"]

    (capture,) = next(s for s in series if s["MainDicomTags"]["Modality"] == "OT")["Instances"]
    preview = np.asarray(Image.open(io.BytesIO(pacs.read(f"/instances/{capture}/preview"))))
    assert np.array_equal(preview, pydicom.dcmread(paths[1]).pixel_array)


def test_sending_again_leaves_one_result(pacs, tmp_path):
    item = predicted_instance(
        0.9, patient_id="P-78", study_instance_uid="1.2.826.0.1.3680043.8.498.78"
    )
    for _ in range(2):
        for path in write_results(make_result(item, study_key="78" * 16), tmp_path):
            pacs.post("/instances", path.read_bytes())
    asked = {"Level": "Instance", "Query": {"PatientID": "P-78"}}
    assert len(pacs.find(asked)) == 2
