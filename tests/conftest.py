"""What every test needs: one torch thread, so that figures repeat and cores are shared fairly.

The builders' pictures are drawn, not taken, so the packaged model's guard would refuse them all: here
it warns, and the tests that are about it say otherwise. The shadow doubles the work of a CPU, so it
runs where it is the subject.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PNEUMO_WRONG_IMAGES", "warn")
os.environ.setdefault("PNEUMO_SHADOW", "false")

_SHARED = Path(__file__).parents[2] / "shared" / "data" / "dicom"


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
