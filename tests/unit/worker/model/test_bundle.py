"""A bundle predicts as it was made, or not at all."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders.bundles import make_manifest, write_signed_manifest
from worker.model.architectures import build_model
from worker.model.bundle import default_bundle, load_bundle, packaged_bundles, save_bundle
from worker.model.bundle_checks import (
    CARD,
    FILES,
    GOLDEN,
    MEANING,
    REFERENCE,
    WEIGHTS,
    check_meaning,
    sha256,
)
from worker.model.golden import golden_planes
from worker.model.manifest import MANIFEST, BundleRefused, read_manifest
from worker.model.wrong_image import CUT_OFF, MEAN


def test_what_was_saved_is_loaded(made, loaded):
    assert loaded.manifest == read_manifest(made)
    assert set(loaded.manifest.files) == {*FILES, REFERENCE}
    assert loaded.guard.cut_off == 2.0
    assert not loaded.model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.model.parameters())


def test_weights_travel_in_fp16_and_batch_norm_in_fp32(made):
    weights = load_file(made / WEIGHTS)
    assert weights["conv1.weight"].dtype == torch.float16
    assert weights["bn1.running_var"].dtype == torch.float32


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, CARD, GOLDEN, REFERENCE])
@pytest.mark.parametrize("seed", range(10))
def test_one_changed_byte_anywhere_is_refused(bundle, name, seed):
    path = bundle / name
    content = bytearray(path.read_bytes())
    place = random.Random(f"{name}{seed}").randrange(len(content))
    content[place] ^= 1 << (seed % 8)
    path.write_bytes(content)
    with pytest.raises(BundleRefused) as refusal:
        load_bundle(bundle)
    assert refusal.value.code in {"BUNDLE_FILE_CHANGED", "MANIFEST_CHANGED", "MANIFEST_UNREADABLE"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"threshold": 0.4', '"threshold": 0.5'),
        ('"temperature": 1.25', '"temperature": 1.26'),
        ('"bias": -0.5', '"bias": 0.5'),
        ('"NORMAL",\n    "PNEUMONIA"', '"PNEUMONIA",\n    "NORMAL"'),
        ('"size": 224', '"size": 256'),
        ('"seed": 0', '"seed":  0'),
    ],
    ids=["threshold", "temperature", "bias", "class order", "input size", "one space"],
)
def test_a_changed_manifest_is_refused(bundle, old, new):
    path = bundle / MANIFEST
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BundleRefused, match="its digest does not fit"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (
            {"schema_version": "7"},
            "SCHEMA_UNKNOWN",
            "has schema '7'; this installation reads 1 and 2",
        ),
        ({"architecture": "alexnet"}, "ARCHITECTURE_UNKNOWN", "'alexnet'; this installation knows"),
        ({"classes": ("PNEUMONIA", "NORMAL")}, "CLASS_ORDER_WRONG", "expected NORMAL, PNEUMONIA"),
        ({"positive_class": "NORMAL"}, "CLASS_ORDER_WRONG", "with NORMAL positive"),
        ({"temperature": 0.0}, "TEMPERATURE_OUT_OF_RANGE", "temperature is 0"),
        ({"bias": 21.0}, "BIAS_OUT_OF_RANGE", "bias is 21"),
        ({"threshold": 1.0}, "THRESHOLD_OUT_OF_RANGE", "threshold is 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_manifest_that_means_something_else_is_refused_though_signed(
    bundle, changes, code, words
):
    write_signed_manifest(bundle, replace(read_manifest(bundle), **changes))
    with pytest.raises(BundleRefused, match=words) as refusal:
        load_bundle(bundle)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", None), ("bias", "0"), ("threshold", "0.4"), ("files", []), ("classes", 2)],
)
def test_a_field_of_another_type_is_refused_though_signed(bundle, name, value):
    values = json.loads((bundle / MANIFEST).read_text()) | {name: value}
    (bundle / MANIFEST).write_text(json.dumps(values, sort_keys=True, indent=2) + "\n")
    with pytest.raises(BundleRefused, match="does not hold the fields of schema 1 or 2"):
        load_bundle(bundle)


def test_another_preprocessing_version_is_refused(bundle):
    manifest = read_manifest(bundle)
    newer = replace(manifest.preprocessing, version="2")
    write_signed_manifest(bundle, replace(manifest, preprocessing=newer))
    with pytest.raises(BundleRefused, match="trained with preprocessing '2'; this installation"):
        load_bundle(bundle)


def test_every_check_of_the_table_passes_for_a_good_manifest():
    check_meaning(make_manifest())
    assert len({check.code for check in MEANING}) == len(MEANING)


def test_other_weights_are_refused_though_signed(bundle):
    weights = load_file(bundle / WEIGHTS)
    weights["fc.1.bias"] += 0.1
    resign_tensors(bundle, WEIGHTS, weights)
    with pytest.raises(BundleRefused, match=r"off by 0\.1; at most 0\.02"):
        load_bundle(bundle)


def test_another_guard_is_refused_though_signed(bundle, loaded):
    reference = loaded.guard.to_reference()
    resign_tensors(bundle, REFERENCE, reference | {MEAN: reference[MEAN] + 0.1})
    with pytest.raises(BundleRefused, match="distances of the bundle's own test pictures") as found:
        load_bundle(bundle)
    assert found.value.code == "GOLDEN_DISTANCES_OFF"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda tensors: tensors | {MEAN: tensors[MEAN][:-1]},
        lambda tensors: {name: tensor[:-1] for name, tensor in tensors.items()},
        lambda tensors: tensors | {CUT_OFF: torch.tensor([torch.nan])},
    ],
    ids=["one mean less", "of another network", "no number"],
)
def test_a_guard_that_does_not_fit_is_refused_though_signed(bundle, loaded, spoilt):
    resign_tensors(bundle, REFERENCE, spoilt(loaded.guard.to_reference()))
    with pytest.raises(BundleRefused, match="does not fit the features of a resnet50") as found:
        load_bundle(bundle)
    assert found.value.code == "REFERENCE_DOES_NOT_FIT"


def test_test_pictures_without_distances_are_refused_though_signed(bundle):
    golden = load_file(bundle / GOLDEN)
    del golden["distances"]
    resign_tensors(bundle, GOLDEN, golden)
    with pytest.raises(BundleRefused, match="lacks distances"):
        load_bundle(bundle)


def resign_tensors(bundle, name, tensors):
    """Put other tensors into one of the files, and sign."""
    save_file(tensors, bundle / name)
    manifest = read_manifest(bundle)
    files = {**manifest.files, name: sha256(bundle / name)}
    write_signed_manifest(bundle, replace(manifest, files=files))


def test_a_bundle_of_schema_1_is_still_loaded(bundle):
    """As released before there was a bias and a guard: neither a bias nor a reference file."""
    (bundle / REFERENCE).unlink()
    manifest = read_manifest(bundle)
    files = {name: digest for name, digest in manifest.files.items() if name != REFERENCE}
    write_signed_manifest(bundle, replace(manifest, schema_version="1", bias=0.0, files=files))
    assert '"bias"' not in (bundle / MANIFEST).read_text()
    loaded = load_bundle(bundle)
    assert (loaded.manifest.bias, loaded.guard) == (0.0, None)


def test_weights_of_another_architecture_are_refused_though_signed(bundle):
    write_signed_manifest(bundle, replace(read_manifest(bundle), architecture="vgg16"))
    with pytest.raises(BundleRefused, match="not those of a vgg16"):
        load_bundle(bundle)


def test_a_file_that_does_not_belong_is_refused(bundle):
    (bundle / "notes.txt").write_text("x")
    with pytest.raises(BundleRefused, match=r"holds notes\.txt, which its manifest does not list"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", [MANIFEST, *FILES, REFERENCE])
def test_a_missing_file_is_refused_by_name(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleRefused, match=name) as refusal:
        load_bundle(bundle)
    assert refusal.value.code == "BUNDLE_FILE_MISSING"


def test_a_failure_while_saving_leaves_no_bundle(tmp_path):
    with pytest.raises(BundleRefused):
        save_bundle(
            tmp_path / "b",
            model=build_model("resnet50"),
            card="x",
            manifest=make_manifest(architecture="vgg16"),
        )
    assert not (tmp_path / "b").exists()


def test_the_golden_pictures_are_always_the_same():
    assert torch.equal(golden_planes(32), golden_planes(32))
    assert golden_planes(32).shape == (4, 32, 32)


def test_the_packaged_bundle_is_sound():
    assert default_bundle() in packaged_bundles()
    manifest = load_bundle(default_bundle()).manifest
    assert f"{manifest.model_name}-{manifest.model_version}" == default_bundle().name
