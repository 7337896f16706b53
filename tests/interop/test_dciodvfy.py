"""Our result objects before dicom3tools' dciodvfy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from tests.builders.results import (
    make_result,
    make_result_settings,
    picture_of_any,
    predicted_instance,
)
from tests.builders.sample_results import RESULTS, require_tool, run_tool, write_results
from worker.imaging.reading import read_dataset
from worker.model.bundle import default_bundle, load_bundle
from worker.results.build import build_results, to_bytes
from worker.results.picture import picture_of


@pytest.mark.parametrize("name", RESULTS)
def test_dciodvfy_finds_no_error(name, tmp_path):
    program = require_tool("dciodvfy")
    paths = write_results(RESULTS[name](), tmp_path)
    assert len(paths) >= 2, "a report, and a capture at least"
    for path in paths:
        said = run_tool(program, str(path))
        judged = (said.stdout + said.stderr).splitlines()
        assert {"Comprehensive3DSR", "SCImage"} & {line.strip() for line in judged}, judged
        assert [line for line in judged if line.startswith(("Error", "Abort"))] == []


def test_a_real_radiograph_through_the_packaged_model_is_sound_too(sample, tmp_path):
    program, bundle = require_tool("dciodvfy"), load_bundle(default_bundle())
    source = read_dataset(sample("RG1_J2KI.dcm"))
    item = replace(predicted_instance(0.792826), header=source)
    spec = bundle.manifest.preprocessing
    made = build_results(
        make_result(item),
        make_result_settings(),
        lambda shown, frame: picture_of(shown.header, frame, bundle.model, spec),
    )
    for number, dataset in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(to_bytes(dataset))
        said = run_tool(program, str(path))
        assert "Error" not in said.stdout + said.stderr
        assert pydicom.dcmread(path).PatientID == source.PatientID
    coloured = np.ptp(made[1].pixel_array[:800].astype(int), axis=2) > 40
    assert 1000 < coloured.sum() < 200_000


def test_dciodvfy_would_find_one(tmp_path):
    program = require_tool("dciodvfy")
    (report, _) = build_results(
        make_result(predicted_instance(0.9)), make_result_settings(), picture_of_any
    )
    del report.CompletionFlag
    path = tmp_path / "spoilt.dcm"
    path.write_bytes(to_bytes(report))
    said = run_tool(program, str(path))
    assert "Error - Missing attribute Type 1 Required Element=<CompletionFlag>" in (
        said.stdout + said.stderr
    )
