"""Tools that are absent: a newcomer's tests are skipped, those of CI fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.builders.site import ROOT


@pytest.mark.parametrize(
    ("demanded", "code", "said"),
    [("", 0, "dcmtk is not installed"), ("1", 1, "PNEUMO_DEMAND_DICOM_TOOLS is set")],
)
def test_without_the_tools_tests_are_skipped_or_fail_if_demanded(demanded, code, said):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "tests/interop/test_dcmtk_sends.py",
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": "", "PNEUMO_DEMAND_DICOM_TOOLS": demanded},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stdout
    assert said in run.stdout
