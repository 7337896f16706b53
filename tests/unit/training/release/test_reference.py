"""The guard knows what is far, whatever the scale of its features; the histograms count everybody."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from training.release.non_chest_images import non_chest_images
from training.release.reference_statistics import GUARD_FEATURES, drift_tensors, fit_guard, widen
from worker.imaging.preprocessing import PreprocessingSpec
from worker.model.architectures import ARCHITECTURES, build_model
from worker.model.wrong_image import WrongImageGuard


def correlated(count: int, seed: int) -> np.ndarray:
    """Features (count, 300) of very different scales that move together."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(12, 300))
    spread = np.logspace(-3, 2, 300)
    return (
        (rng.normal(size=(count, 12)) @ mixing + rng.normal(size=(count, 300))) * spread
    ).astype(np.float32)


def test_unseen_images_are_near_and_others_far():
    guard = fit_guard(correlated(2000, 1), 256)
    near = guard.distance(torch.from_numpy(correlated(300, 2)))
    assert near.mean() == pytest.approx(1.0, abs=0.1)
    other = guard.distance(torch.from_numpy(correlated(300, 2) * -3))
    assert other.min() > near.quantile(0.99)


@pytest.mark.parametrize("count", [2000, 200], ids=["many images", "fewer images than features"])
def test_the_distance_is_that_of_the_shrunk_covariance(count):
    scale = correlated(count, 1).std(axis=0)
    images, other = correlated(count, 1) / scale, correlated(40, 2) / scale
    estimate = LedoitWolf().fit(images)
    squares = estimate.mahalanobis(other)
    assert np.ptp(squares) > 100
    all_directions = fit_guard(images, min(count, 300))
    if count > 300:
        found = all_directions.distance(torch.from_numpy(other)).numpy() ** 2 * 300
        assert found == pytest.approx(squares, rel=1e-3)
    else:  # what is left of a picture beyond all directions lies under the floor alone
        centred, far = images - images.mean(axis=0), other - images.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=False)[2]
        rest = np.square(far).sum(axis=1) - np.square(far @ axes.T).sum(axis=1)
        floor = estimate.shrinkage_ * np.square(centred).mean()
        found = all_directions.distance(torch.from_numpy(other)).numpy() ** 2 * count
        assert found + rest / floor == pytest.approx(squares, rel=1e-2)


def test_a_feature_that_never_moved_fits_into_halves():
    images = correlated(300, 1)
    images[:, 7] = 0
    kept = WrongImageGuard.from_reference(fit_guard(images, 64).to_reference())
    stirred = images[:1].copy()
    stirred[0, 7] = 1e-3
    assert kept.distance(torch.from_numpy(stirred)).isfinite().all()


def test_a_guard_over_all_features_looks_at_its_own_alone():
    guard = fit_guard(correlated(500, 1), 256, 1.5)
    wide = widen(guard, slice(10, 310), 400)
    features = torch.from_numpy(correlated(20, 2))
    all_features = torch.randn(20, 400)
    all_features[:, 10:310] = features
    assert torch.allclose(wide.distance(all_features), guard.distance(features), atol=1e-4)
    kept = WrongImageGuard.from_reference(wide.to_reference(), 400)
    assert kept is not None
    assert torch.allclose(kept.distance(all_features), guard.distance(features), rtol=0.02)
    assert kept.cut_off == 1.5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_middle_is_a_stage_of_the_network(architecture):
    model = build_model(architecture).eval()
    outputs = []
    stages = (
        [model.layer3] if architecture == "resnet50" else [model.features[i] for i in (9, 16, 23)]
    )
    for stage in stages:
        stage.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    with torch.inference_mode():
        features, _ = model.features_and_logits(torch.randn(1, 3, 64, 64))
    if architecture == "resnet50":
        expected = outputs[0].mean(dim=(2, 3))
    else:
        fields = [x.unflatten(2, (4, -1)).unflatten(4, (4, -1)).mean(dim=(3, 5)) for x in outputs]
        expected = torch.cat([(x.flatten(1) + 0.1).log() for x in fields], dim=1)
    assert torch.allclose(features[:, GUARD_FEATURES[architecture].columns], expected, atol=1e-4)


def test_histograms_count_every_image():
    planes = np.random.default_rng(0).integers(0, 256, (30, 16, 16)).astype(np.uint8)
    kept = drift_tensors(np.linspace(0, 1, 50), planes)
    assert kept["drift.score_counts"].sum() == 50
    assert kept["drift.input_counts"].sum(dim=1).tolist() == [30] * 4
    assert kept["drift.input_edges"].shape == (4, 33)


def test_pictures_of_other_kinds_are_planes(tmp_path):
    radiographs = np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.uint8)
    (tmp_path / "notes.txt").write_text("no picture")
    kinds = non_chest_images(radiographs, PreprocessingSpec(size=32), [tmp_path])
    assert set(kinds) == {
        "radiographs turned by 90 degrees", "inverted radiographs", "photographs", "noise", "blank",
    }  # fmt: skip
    assert all(p.dtype == np.uint8 and p.shape[1:] == (32, 32) for p in kinds.values())
    assert np.array_equal(np.rot90(kinds["radiographs turned by 90 degrees"][0], 3), radiographs[0])
