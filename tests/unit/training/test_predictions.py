"""Predictions: calibrated, chosen by rows, written and read back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.measured import images_of, predictions_of
from training.predictions import read_predictions

LABELS = np.array([0, 1, 1])


@pytest.fixture
def said():
    return predictions_of(images_of(LABELS), np.array([-2.0, 0.0, 3.5]))


def test_probabilities_by_hand(said):
    expected = [1 / (1 + np.e), 1 / (1 + np.exp(-0.0)), 1 / (1 + np.exp(-1.75))]
    assert said.probabilities(2.0, 0.0) == pytest.approx(expected)
    assert said.probabilities(1.0, 2.0)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("index", [np.array([2, 0]), np.array([True, False, True])])
def test_rows_keep_what_belongs_together(said, index):
    some = said.rows(index)
    by_name = dict(zip(said.names, said.logits, strict=True))
    assert len(some.names) == 2
    assert [by_name[name] for name in some.names] == list(some.logits)
    assert set(some.subtypes) == {"normal", "bacteria"}


def test_written_and_read_back(said, tmp_path):
    path = tmp_path / "deep" / "predictions.csv"
    said.write(path, said.probabilities(1.0, 0.0))
    again = read_predictions(path)
    assert (again.names, again.subtypes) == (said.names, said.subtypes)
    for field in ("patients", "labels"):
        assert list(getattr(again, field)) == list(getattr(said, field))
    assert again.logits == pytest.approx(said.logits, abs=1e-6)
    assert path.read_text().splitlines()[0] == "file,patient,subtype,label,logit,probability"


def test_names_with_commas_survive(said, tmp_path):
    odd = predictions_of(images_of(LABELS), said.logits).rows(np.array([0]))
    odd = type(odd)(**{**vars(odd), "names": ('a, "b".png',)})
    odd.write(tmp_path / "p.csv", np.array([0.5]))
    assert read_predictions(tmp_path / "p.csv").names == ('a, "b".png',)
