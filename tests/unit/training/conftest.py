"""A tiny data set in the Kaggle layout, drawn once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.data_sets import draw_set


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The tiny set; not to be changed."""
    return draw_set(tmp_path_factory.mktemp("tiny"))
