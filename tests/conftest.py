"""What every test needs: one torch thread, so that figures repeat and cores are shared fairly.

The site of a test is the product's own default, unless its builder or fixture says otherwise.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.builders.waiting import scaled

os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture(autouse=True)
def _umask_of_the_run() -> Iterator[None]:
    """Undo what a command that ran in this process did: its umask closes files to all other users."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the time limit of a test (`timeout` in pyproject.toml) grow with the machine's slowness."""
    config = item.config
    if config.getoption("timeout") is None and item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(scaled(float(config.getini("timeout")))))
    return (yield)
