"""Our result objects before dcmtk's dsrdump and dcmj2pnm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.builders.results import make_result, predicted_instance, refused_instance
from tests.builders.sample_results import (
    PREDECESSOR,
    RESULTS,
    require_tool,
    run_tool,
    write_results,
)


def test_dsrdump_shows_what_is_coded(tmp_path):
    result = make_result(predicted_instance(0.792826, number=1), refused_instance(2))
    # dcmtk 3.6.7 takes the offset +0000 for a violation of VR DT, which PS3.5 6.2 allows.
    zone = {"time_zone": "Europe/Berlin"}
    (report, _) = write_results(replace(result, supersedes=PREDECESSOR), tmp_path, **zone)
    said = run_tool(require_tool("dsrdump"), "+Pl", "+Pc", str(report))
    assert said.returncode == 0, said.stderr
    for expected in (
        "Comprehensive 3D SR Document",
        "Predecessor Docs    : 1",
        '(121071,DCM,"Finding")=(233604007,SCT,"Pneumonia")',
        '(233604007,SCT,"Pneumonia")=(52101004,SCT,"Present")',
        '(122157,DCM,"Probability")="0.792826" (1,UCUM,"no units")',
        '(111001,DCM,"Algorithm Name")="resnet50"',
        '(111003,DCM,"Algorithm Version")="9.9.9"',
        '(111002,DCM,"Algorithm Parameters")="threshold=0.4"',
        '(111242,DCM,"All algorithms succeeded; with findings")',
        '(111245,DCM,"No algorithms succeeded; without findings")',
        '(111244,DCM,"Not all algorithms succeeded; with findings")',
        '(121112,DCM,"Source of Measurement")=(CR image,)',
        "Not evaluated: VIEW_NOT_FRONTAL. (0018,5101) View Position: found LL",
        "Not for diagnostic use without a radiologist.",
        "Replaces the result of 2026-11-23 10:50 CET (resnet50-9.9.8, revision 1 of the study).",
    ):
        assert expected in said.stdout, expected
    assert "error" not in said.stderr.lower()
    assert "violates" not in said.stderr


@pytest.mark.parametrize(
    ("name", "procedure"),
    [
        ("CR", '(399208008,SCT,"Plain chest X-ray")'),
        ("a tibia", '(168537006,SCT,"Plain radiography")'),
        ("a tibia with the codes of its hospital", '(RXTIB,99HOSPITAL,"Tibia")'),
    ],
)
def test_dsrdump_shows_what_was_done(name, procedure, tmp_path):
    report = write_results(RESULTS[name](), tmp_path, time_zone="Europe/Berlin")[0]
    said = run_tool(require_tool("dsrdump"), "+Pl", "+Pc", str(report))
    assert (said.returncode, "error" in said.stderr.lower()) == (0, False), said.stderr
    assert f'(121058,DCM,"Procedure reported")={procedure}' in said.stdout


@pytest.mark.parametrize("name", ["CR", "nothing evaluated"])
def test_dcmj2pnm_renders_the_capture(name, tmp_path):
    (_, capture) = write_results(RESULTS[name](), tmp_path)
    rendered = tmp_path / "capture.png"
    said = run_tool(require_tool("dcmj2pnm"), "--write-png", str(capture), str(rendered))
    assert said.returncode == 0, said.stderr
    assert np.array_equal(
        np.asarray(Image.open(rendered).convert("RGB")), pydicom.dcmread(capture).pixel_array
    )
