"""Two bundles compared: the tests, the ensemble, and the rule in each of its cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from tests.builders.evaluations import FINGERPRINT, images_of, predictions_of, small_manifest
from training.evaluate.comparison import ENSEMBLE_NAME, Comparison, choose_model, compare_part

LABELS = np.arange(200) % 2
RNG = np.random.default_rng(7)
GOOD = LABELS * 3.0 + RNG.normal(size=200)
EQUAL = LABELS * 3.0 + RNG.normal(size=200)
POOR = RNG.normal(size=200)
NAMES = ("resnet50-9.9.1", "resnet50-9.9.2")


def manifests(**first):
    return small_manifest("9.9.1", threshold=0.2, **first), small_manifest("9.9.2", threshold=0.6)


def part_of(one, other, split="validation", pair=None):
    images = images_of(LABELS, split=split, size=8)
    said = (predictions_of(images, one), predictions_of(images, other))
    return compare_part(images, pair or manifests(), said)


def test_the_clearly_better_one_wins_whichever_comes_first():
    for one, other, better in ((GOOD, POOR, NAMES[0]), (POOR, GOOD, NAMES[1])):
        parts = [part_of(one, other), part_of(one, other, "block")]
        verdict = choose_model(manifests(), parts)
        assert (verdict.better, verdict.is_noise) == (better, False)
        assert "Better by the rule" in verdict.sentences[-1]
        assert all(f"favours {better}" in sentence for sentence in verdict.sentences[:2])


def test_noise_is_called_noise_and_the_tie_goes_by_specificity():
    part = part_of(GOOD, EQUAL)
    verdict = choose_model(manifests(), [part, part_of(GOOD, EQUAL, "block")])
    kept = [side.at_threshold.metrics.specificity_at_97 for side in part.models[:2]]
    assert part.is_noise
    assert kept[0] != kept[1]
    assert verdict.is_noise
    assert verdict.better == NAMES[int(kept[1] > kept[0])]
    assert "noise: a tie" in verdict.sentences[-1]
    assert "no proof" in verdict.sentences[-1]


def test_verdicts_are_judged_apart_from_areas():
    pair = small_manifest("9.9.1", bias=-1.2), small_manifest("9.9.2", bias=-1.2)
    alike = choose_model(pair, [part_of(GOOD, EQUAL, pair=pair)]).sentences[0]
    assert "At their thresholds both are correct equally often, but for noise (McNemar p =" in alike
    for one, other, better in ((POOR, GOOD, NAMES[1]), (GOOD, POOR, NAMES[0])):
        apart = choose_model(pair, [part_of(one, other, pair=pair)]).sentences[0]
        assert f"At their thresholds {better} is correct more often (McNemar p =" in apart


def test_equal_in_everything_decides_nothing():
    verdict = choose_model(manifests(), [part_of(GOOD, GOOD)])
    assert (verdict.better, verdict.is_noise) == (None, True)
    assert "take either" in verdict.sentences[-1]


def test_a_difference_in_one_part_is_no_tie():
    verdict = choose_model(manifests(), [part_of(GOOD, EQUAL), part_of(POOR, GOOD, "block")])
    assert (verdict.better, verdict.is_noise) == (NAMES[1], False)


def test_test_images_choose_nothing():
    verdict = choose_model(manifests(), [part_of(GOOD, POOR, "test")])
    assert verdict.better is None
    assert "nothing is chosen by test images" in verdict.sentences[-1]


def test_a_network_that_saw_the_images_wins_nothing_and_its_held_out_figures_are_told():
    pair = manifests(
        dataset_fingerprint=FINGERPRINT,
        training={"hold_out": "none"},
        metrics={"parts": {"block": {"threshold": {"auroc": 0.9871}}}},
    )
    part = part_of(GOOD, POOR, pair=pair)
    verdict = choose_model(pair, [part])
    assert part.in_sample == (NAMES[0],)
    assert verdict.better is None
    assert "The rule is not applied" in verdict.sentences[1]
    assert verdict.sentences[-1] == f"Held-out AUROC in the manifest of {NAMES[0]}: block 0.9871."


def test_each_verdict_is_taken_at_its_own_threshold():
    part = part_of(GOOD, EQUAL)
    first, second = part.first.probabilities >= 0.2, part.second.probabilities >= 0.6
    right = (first == (LABELS == 1)), (second == (LABELS == 1))
    assert part.mcnemar.only_first_right == int((right[0] & ~right[1]).sum())
    assert part.mcnemar.only_second_right == int((right[1] & ~right[0]).sum())


def test_the_ensemble_is_the_mean_of_the_calibrated_logits():
    part = part_of(GOOD, EQUAL)
    assert part.ensemble.name == ENSEMBLE_NAME
    assert logit(part.ensemble.probabilities) == pytest.approx((GOOD + EQUAL) / 2 / 1.25)
    assert part.ensemble.at_threshold.threshold == pytest.approx(
        expit((logit(0.2) + logit(0.6)) / 2)
    )
    assert part.ensemble.at_half.threshold == 0.5


def test_the_ensemble_of_certainties_is_a_number():
    part = part_of(GOOD * 1e4, GOOD * 1e4)
    assert np.isfinite(part.ensemble.probabilities).all()


def test_json_has_all_three_rows_and_no_nan():
    parts = (part_of(GOOD, GOOD),)
    comparison = Comparison(names=NAMES, parts=parts, choice=choose_model(manifests(), parts))
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert set(content["parts"][0]["rows"]) == {*NAMES, ENSEMBLE_NAME}
    assert content["in_sample"] is False
    assert content["verdict"]["better"] is None
