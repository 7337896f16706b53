"""Where the real files are, and what the tests of pixels share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.imaging.preprocessing import PreprocessingSpec

_SHARED = Path(__file__).parents[4] / "shared" / "data" / "dicom"


@pytest.fixture(scope="session")
def spec() -> PreprocessingSpec:
    return PreprocessingSpec()


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """A real file by its name, from pydicom-data or the shared folder; skips where it is absent."""
    found = importlib.util.find_spec("data_store")
    packaged = Path(found.origin).parent / "data" if found and found.origin else _SHARED

    def path_of(name: str) -> Path:
        for folder in (packaged, _SHARED):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"{name} is not on this machine (pydicom-data or ../shared/data/dicom)")

    return path_of
