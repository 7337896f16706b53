"""The acceptance tests' installations and the intake tests' sites serve here too.

Without Debian's DICOM tools these tests are skipped, each with its reason. Where PNEUMO_DEMAND_DICOM_TOOLS
is set (`.ci/run` sets it once the tools are there), what is skipped has failed: green means that they spoke.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests.acceptance.conftest import install
from tests.integration.conftest import migrated, site

__all__ = ["install", "migrated", "site"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A skipped test as a failed one, where the tools are demanded."""
    report = yield
    if report.skipped and os.environ.get("PNEUMO_DEMAND_DICOM_TOOLS"):
        report.outcome = "failed"
        report.longrepr = f"PNEUMO_DEMAND_DICOM_TOOLS is set, and it was skipped: {report.longrepr}"
    return report
