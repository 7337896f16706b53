"""What holds for any picture and any recipe."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.builders.dicom import make_instance
from worker.errors import Rejected
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.refusals import RefusedInstance

thorough = settings(deadline=None, max_examples=60)

SPEC = PreprocessingSpec()
TOP = 4095
pictures = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
                      elements=st.integers(0, TOP))  # fmt: skip
functions = st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
windows = st.none() | st.tuples(
    st.floats(-5000, 70000).map(lambda v: round(v, 6)),
    st.floats(0, 70000).map(lambda v: round(v, 6)),
)
recipes = st.builds(
    PreprocessingSpec,
    size=st.integers(1, 1024),
    stretch_percentiles=st.tuples(st.floats(0, 40), st.floats(60, 100)),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.1, 1)] * 3),
)


@thorough
@given(recipes)
def test_a_recipe_survives_json(recipe: PreprocessingSpec) -> None:
    assert PreprocessingSpec.from_json(recipe.to_json()) == recipe


def test_a_recipe_with_another_key_is_refused_by_name() -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), "crop": 1})
    with pytest.raises(Rejected, match="crop"):
        PreprocessingSpec.from_json(text)


@thorough
@given(
    pixels=pictures,
    signed=st.booleans(),
    header=st.fixed_dictionaries(
        {
            "window": windows,
            "voi_lut_function": functions,
            "rescale": st.none()
            | st.tuples(st.sampled_from([-3.5, -1, 0.25, 1, 2]), st.integers(-3000, 3000)),
            "photometric": st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
            "padding_value": st.none() | st.integers(0, 2047),
        }
    ),
)
def test_output_is_float32_finite_and_within_0_and_1(pixels, signed, header) -> None:
    dataset = make_instance(
        pixels=pixels.astype(int) - 2048 * signed, pixel_representation=int(signed), **header
    )
    try:
        frame = normalise_frame(dataset, SPEC)
    except RefusedInstance:  # constant, or a window that misses it
        return

    assert frame.pixels.dtype == np.float32
    assert frame.pixels.shape == pixels.shape
    assert np.isfinite(frame.pixels).all()
    assert frame.pixels.min() >= 0
    assert frame.pixels.max() <= 1
    json.dumps(frame.record.to_dict(), allow_nan=False)


@thorough
@given(pixels=pictures, window=st.none() | st.tuples(st.integers(0, TOP), st.integers(1, 8000)))
def test_monochrome1_of_the_negative_is_monochrome2_of_the_positive(pixels, window) -> None:
    # The window's mirror about (TOP + 1) / 2: LINEAR is off by a half (PS3.3 C.11.2.1.2.1).
    mirrored = (TOP - window[0] + 1, window[1]) if window else None
    # A window of width 1 is a step, open on one side: it has no mirror.
    if window and window[1] == 1:
        return
    positive = make_instance(pixels=pixels, window=window)
    negative = make_instance(pixels=TOP - pixels, window=mirrored, photometric="MONOCHROME1")
    try:
        expected = normalise_frame(positive, SPEC).pixels
    except RefusedInstance:
        with pytest.raises(RefusedInstance):
            normalise_frame(negative, SPEC)
        return

    np.testing.assert_allclose(normalise_frame(negative, SPEC).pixels, expected, atol=1e-6)


@thorough
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
                  elements=st.floats(0, 1, width=32)), st.integers(1, 64))  # fmt: skip
def test_the_network_gets_three_finite_planes(frame: np.ndarray, size: int) -> None:
    recipe = PreprocessingSpec(size=size)

    tensor = preprocess(frame, recipe)

    assert tensor.shape == (3, size, size)
    assert tensor.dtype == torch.float32
    assert torch.isfinite(tensor).all()
    grey = (
        tensor * torch.tensor(recipe.std)[:, None, None] + torch.tensor(recipe.mean)[:, None, None]
    )
    torch.testing.assert_close(grey[0], grey[2], atol=1e-6, rtol=0)


def test_a_flat_frame_stays_flat_and_is_standardised() -> None:
    tensor = preprocess(np.full((50, 30), 0.5, dtype=np.float32), PreprocessingSpec(size=7))

    expected = (0.5 - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)
    torch.testing.assert_close(tensor[:, 3, 3], expected)
    assert (tensor - tensor[:, :1, :1]).abs().max() < 1e-5


def test_resizing_does_not_fold_fine_detail_back() -> None:
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (256, 128))  # one pixel wide

    grey = preprocess(stripes, PreprocessingSpec(size=16, mean=(0, 0, 0), std=(1, 1, 1)))[0]

    assert (grey - 0.5).abs().max() < 0.05
