"""Our result objects before dicom3tools' dciodvfy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from tests.builders.results import picture_of_any, predicted, result_of, words_of
from tests.builders.sample_results import RESULTS, run, tool, written
from worker.imaging.reading import read_dataset
from worker.model.bundle import default_bundle, load_bundle
from worker.results.build import build_results, to_bytes
from worker.results.picture import picture_of


@pytest.mark.parametrize("name", RESULTS)
def test_dciodvfy_finds_no_error(name, tmp_path):
    program = tool("dciodvfy")
    for path in written(RESULTS[name](), tmp_path):
        said = run(program, str(path))
        judged = (said.stdout + said.stderr).splitlines()
        assert {"Comprehensive3DSR", "SCImage"} & {line.strip() for line in judged}, judged
        assert [line for line in judged if line.startswith(("Error", "Abort"))] == []


def test_a_real_radiograph_through_the_packaged_model_is_sound_too(sample, tmp_path):
    program, bundle = tool("dciodvfy"), load_bundle(default_bundle())
    source = read_dataset(sample("RG1_J2KI.dcm"))
    item = replace(predicted(0.792826), header=source)
    spec = bundle.manifest.preprocessing
    made = build_results(
        result_of(item),
        words_of(),
        lambda shown, frame: picture_of(shown.header, frame, bundle.model, spec),
    )
    for number, dataset in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(to_bytes(dataset))
        said = run(program, str(path))
        assert "Error" not in said.stdout + said.stderr
        assert pydicom.dcmread(path).PatientID == source.PatientID
    coloured = np.ptp(made[1].pixel_array[:800].astype(int), axis=2) > 40
    assert 1000 < coloured.sum() < 200_000


def test_dciodvfy_would_find_one(tmp_path):
    program = tool("dciodvfy")
    (report, _) = build_results(result_of(predicted(0.9)), words_of(), picture_of_any)
    del report.CompletionFlag
    path = tmp_path / "spoilt.dcm"
    path.write_bytes(to_bytes(report))
    said = run(program, str(path))
    assert "Error - Missing attribute Type 1 Required Element=<CompletionFlag>" in (
        said.stdout + said.stderr
    )
