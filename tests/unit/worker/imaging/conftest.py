"""What the tests of pixels share."""

from __future__ import annotations

import pytest

from worker.imaging.preprocessing import PreprocessingSpec


@pytest.fixture(scope="session")
def spec() -> PreprocessingSpec:
    return PreprocessingSpec()
