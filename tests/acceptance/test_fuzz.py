"""The short form of `make fuzz`, and every case that was ever found to break a promise."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz

FOUND: tuple[int, ...] = ()
"""Numbers of cases that broke a promise once."""


def test_five_hundred_mutated_files_are_answered(tmp_path):
    report = fuzz(0, 500, tmp_path)
    assert report.broken == []
    assert report.count == 500
    assert len(report.fates) > 20, "the cases must differ"


@pytest.mark.parametrize("seed", FOUND)
def test_a_case_that_was_found_stays_mended(tmp_path, seed):
    assert fuzz(seed, 1, tmp_path).broken == []
