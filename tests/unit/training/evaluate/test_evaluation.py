"""An evaluation: both thresholds, counts, intervals, what was seen before, and the largest errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from tests.builders.evaluations import (
    FINGERPRINT,
    images_of,
    predictions_of,
    save_small_bundle,
    small_manifest,
)
from training.evaluate.evaluation import NO_BASELINE, evaluate
from training.evaluate.evaluation_set import EvaluationSet, hold_out_of, is_in_sample, predict
from training.evaluate.largest_errors import largest_errors, rows_of_largest_errors
from training.evaluate.threshold_metrics import Proportion, measure_at
from worker.errors import Resource
from worker.model.bundle import load_bundle

LABELS = np.array([0, 1, 1, 0, 1, 1, 0, 0])
LOGITS = np.array([-3.0, 2.0, 1.0, 0.3, -0.2, 4.0, -2.0, -1.0])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(save_small_bundle(tmp_path_factory.mktemp("bundles"), bias=0.5))


@pytest.fixture(scope="module")
def images() -> EvaluationSet:
    return images_of(LABELS)


@pytest.fixture(scope="module")
def evaluation(bundle, images):
    return evaluate(bundle, images, predictions_of(images, LOGITS))


def test_figures_are_calibrated_and_taken_at_both_thresholds(evaluation):
    expected = 1 / (1 + np.exp(-(LOGITS / 1.25 + 0.5)))
    assert evaluation.probabilities == pytest.approx(expected)
    assert (evaluation.at_threshold.threshold, evaluation.at_half.threshold) == (0.4, 0.5)
    # Of the normals, logit .3 gives .68 and logit -1 gives .43: the one above .5, both above .4.
    assert evaluation.at_threshold.confusion.false_positive == 2
    assert evaluation.at_half.confusion.false_positive == 1
    assert evaluation.at_half.metrics.recall == 1


def test_counts_agree_with_the_figures(evaluation):
    point = evaluation.at_threshold
    for name, share in point.confusion.proportions().items():
        assert share.value == pytest.approx(getattr(point.metrics, name)), name
    assert sum(vars(point.confusion).values()) == len(LABELS)


def test_intervals_hold_their_figures(evaluation):
    point = evaluation.at_threshold
    for name, (low, high) in point.intervals.items():
        assert low <= round(getattr(point.metrics, name), 5) <= high, name


def test_recall_by_subtype_counts_its_own_images_only(images):
    kinds = np.array([r.subtype for r in images.radiographs])
    said = np.where(kinds == "virus", 0.9, 0.1)
    point = measure_at(predictions_of(images, LOGITS), said, 0.5)
    assert point.by_subtype["virus"].value == 1
    assert point.by_subtype["bacteria"].value == 0
    assert point.by_subtype["bacteria"].trials == (kinds == "bacteria").sum()


def test_a_share_without_trials_is_no_number_and_says_nothing():
    assert np.isnan(Proportion(successes=0, trials=0).value)
    assert Proportion(successes=0, trials=0).interval == (0, 1)


def test_what_was_predicted_once_is_kept_whole_and_not_predicted_again(bundle, images, tmp_path):
    first = predict(bundle, images, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]
    mute = replace(bundle, model=nn.Identity())  # has no weights, so it could predict nothing
    assert (predict(mute, images, tmp_path / "cache").logits == first.logits).all()


def test_a_cache_that_cannot_be_written_is_told(bundle, images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Resource, match="could not be written"):
        predict(bundle, images, tmp_path / "file" / "cache")


def test_json_says_everything_without_nan(evaluation):
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert content["in_sample"] is False
    assert (content["images"], content["pneumonia"], content["patients"]) == (8, 4, 4)
    assert content["at_half"]["threshold"] == 0.5
    assert len(content["probes"]["looks"]) == 4
    assert content["nuisance"]["learnt_from"] == 8
    assert content["at_threshold"]["wilson"]["recall"][1] <= 1


def test_without_images_to_learn_from_the_baseline_is_left_out_in_words(bundle, images):
    alone = EvaluationSet(**{**vars(images), "train": None})
    found = evaluate(bundle, alone, predictions_of(images, LOGITS))
    assert found.baseline is None
    assert found.to_dict()["nuisance"] == {"left_out": NO_BASELINE}


@pytest.mark.parametrize(
    ("fingerprint", "hold_out", "seen"),
    [
        (FINGERPRINT, "none", True),
        (FINGERPRINT, "fold-1", True),
        (FINGERPRINT, "validation", False),
        ("0" * 64, "none", False),
    ],
    ids=["trained on all", "held out others", "held these out", "another set"],
)
def test_who_has_seen_the_images(images, fingerprint, hold_out, seen):
    manifest = small_manifest(dataset_fingerprint=fingerprint, training={"hold_out": hold_out})
    assert is_in_sample(manifest, images) is seen


def test_old_bundles_held_out_the_validation():
    assert hold_out_of(small_manifest(training={"seed": 0})) == "validation"


def test_worst_first_on_the_scale_of_the_logit():
    labels = np.array([1, 0, 1, 0, 1])
    said = np.array([0.04, 0.9, 0.001, 0.06, 0.9])
    # With a threshold of .05: .9 for a normal is farther beyond it than .04 for a pneumonia.
    assert list(rows_of_largest_errors(labels, said, 0.05, 12)) == [1, 2, 0, 3]
    assert list(rows_of_largest_errors(labels, said, 0.05, 2)) == [1, 2]


def test_errors_come_with_their_pictures(bundle, images, evaluation):
    errors = largest_errors(bundle, images, evaluation)
    wrong = evaluation.at_threshold.confusion
    assert len(errors) == wrong.false_negative + wrong.false_positive > 0
    for error in errors:
        row = [r.shown_as for r in images.radiographs].index(error.shown_as)
        assert (error.plane == images.planes[row]).all()
        assert error.saliency.shape == error.plane.shape
        assert error.label == LABELS[row]
        assert error.probability == pytest.approx(evaluation.probabilities[row])


def test_no_errors_where_everything_is_correct(bundle, images):
    right = evaluate(bundle, images, predictions_of(images, 20.0 * LABELS - 10))
    assert largest_errors(bundle, images, right) == ()
