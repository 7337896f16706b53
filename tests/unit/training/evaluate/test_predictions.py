"""Predictions: calibrated, chosen by rows, written."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from tests.builders.evaluations import images_of, predictions_of
from training.evaluate.predictions import calibrated

LABELS = np.array([0, 1, 1])


@pytest.fixture
def predictions():
    return predictions_of(images_of(LABELS), np.array([-2.0, 0.0, 3.5]))


def test_probabilities_by_hand(predictions):
    expected = [1 / (1 + np.e), 1 / (1 + np.exp(-0.0)), 1 / (1 + np.exp(-1.75))]
    assert calibrated(predictions.logits, 2.0, 0.0) == pytest.approx(expected)
    assert calibrated(predictions.logits, 1.0, 2.0)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("index", [np.array([2, 0]), np.array([True, False, True])])
def test_rows_keep_what_belongs_together(predictions, index):
    some = predictions.rows(index)
    by_name = dict(zip(predictions.names, predictions.logits, strict=True))
    assert len(some.names) == 2
    assert [by_name[name] for name in some.names] == list(some.logits)
    assert set(some.subtypes) == {"normal", "bacteria"}


def test_the_file_has_every_image_and_names_with_commas(predictions):
    odd = replace(predictions, names=('a, "b".png', *predictions.names[1:]))
    text = odd.to_csv(np.array([0.25, 0.5, 0.75]))
    heading, first, *others = csv.reader(text.splitlines())
    assert heading == ["file", "patient", "subtype", "label", "logit", "probability"]
    assert first == ['a, "b".png', "0", "normal", "0", "-2.000000", "0.250000"]
    assert [line[0] for line in others] == [*predictions.names[1:]]
