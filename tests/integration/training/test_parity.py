"""A radiograph says the same to a worker as to the training, whatever DICOM makes of its pixels.

60 originals of the training set, natural in size and aspect, each written as 12- and 16-bit
MONOCHROME1 and MONOCHROME2 with a window of its own (PS3.3 C.11.2.1.2), go through the worker's
reading, normalisation, preprocessing and predictor; the same JPEG files go through the training's
cache of planes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit

from tests.builders.dicom import write_instance
from training.data.class_folders import BARE
from training.data.decoding import load_tensor
from training.data.planes import load_pool
from training.data.reading import read_pool
from training.evaluate.predictions import logits_of
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.reading import read_dataset
from worker.model.bundle import load_bundle, packaged_bundles
from worker.model.predictor import Predictor

ORIGINALS = Path(__file__).resolve().parents[4] / "shared" / "data" / "kermany-originals"
ENCODINGS = [(12, "MONOCHROME1"), (12, "MONOCHROME2"), (16, "MONOCHROME1"), (16, "MONOCHROME2")]
SPEC = PreprocessingSpec()
BUNDLES = packaged_bundles()

pytestmark = [
    pytest.mark.skipif(
        not ORIGINALS.exists(), reason="the original radiographs are not at ../shared"
    ),
    pytest.mark.timeout(1800),  # 300 images through a whole network, minutes on a busy machine
]


def write_with_window(
    path: Path, grey: np.ndarray, bits: int, photometric: str, rng: np.random.Generator
) -> Path:
    """Grey levels uint8 (H, W) as stored values somewhere in `bits`, and the window to see them."""
    top = (1 << bits) - 1
    step = int(rng.integers(1, top // 255 + 1))
    low = int(rng.integers(0, top - 255 * step + 1))
    shown = 255 - grey if photometric == "MONOCHROME1" else grey
    return write_instance(
        path,
        pixels=(low + shown.astype(np.uint16) * step).astype(np.uint16),
        bits_stored=bits,
        photometric=photometric,
        window=(low + 255 * step / 2 + 0.5, 255 * step + 1),
    )


def worker_tensor(path: Path) -> torch.Tensor:
    """As worker.pipeline makes it."""
    return preprocess(normalise_frame(read_dataset(path), SPEC, 1).pixels, SPEC)


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory) -> tuple[np.ndarray, torch.Tensor]:
    """Planes uint8 (60, S, S) of the training, and the worker's tensors (4, 60, 3, S, S)."""
    folder = tmp_path_factory.mktemp("parity")
    rng = np.random.default_rng(20261123)
    pool, planes = load_pool(read_pool(ORIGINALS, folders=BARE), SPEC, folder / "cache")
    assert len(planes) == 60
    tensors = []
    for bits, photometric in ENCODINGS:
        for radiograph in pool.radiographs:
            with Image.open(ORIGINALS / radiograph.path) as image:
                grey = np.array(image.convert("L"))
            path = write_with_window(folder / "one.dcm", grey, bits, photometric, rng)
            tensors.append(worker_tensor(path))
    return planes, torch.stack(tensors).unflatten(0, (len(ENCODINGS), 60))


@pytest.mark.parametrize("folder", BUNDLES, ids=[b.name for b in BUNDLES])
def test_the_logit_through_the_worker_is_the_logit_through_training(folder, both_ways):
    planes, tensors = both_ways
    bundle = load_bundle(folder)
    trained = logits_of(bundle.model, planes, SPEC)
    predictor = Predictor(bundle, device="cpu", cpu_threads=2)
    for encoding, batch in zip(ENCODINGS, tensors, strict=True):
        scores = predictor.predict(batch)
        off = np.abs(np.array([score.logit for score in scores]) - trained)
        print(f"{folder.name} {encoding}: median {np.median(off):.4f}, most {off.max():.4f}")
        assert np.median(off) <= 0.05, encoding
        assert off.max() <= 0.25, encoding
        said = np.array([score.probability for score in scores])
        expected = expit(trained / bundle.manifest.temperature + bundle.manifest.bias)
        flipped = (said >= bundle.manifest.threshold) != (expected >= bundle.manifest.threshold)
        assert (np.abs(said[flipped] - bundle.manifest.threshold) <= 0.02).all(), encoding
    predictor.close()


@pytest.mark.parametrize(("bits", "photometric"), ENCODINGS)
def test_one_dicom_gives_bit_equal_tensors_both_ways(tmp_path, bits, photometric):
    rng = np.random.default_rng(1)
    original = min(ORIGINALS.glob("NORMAL/*.jpeg"))
    with Image.open(original) as image:
        grey = np.array(image.convert("L"))
    path = write_with_window(tmp_path / "one.dcm", grey, bits, photometric, rng)
    assert torch.equal(load_tensor(path, SPEC), worker_tensor(path))
