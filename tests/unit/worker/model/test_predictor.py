"""The same input gives the same probability, whatever came with it; failures are loud."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Bug, Rejected
from worker.model.calibration import calibrated_probability, sigmoid
from worker.model.predictor import Predictor, choose_device


@pytest.fixture(scope="module")
def predictor(loaded):
    predictor = Predictor(loaded, device="cpu", max_batch=4, cpu_threads=2)
    yield predictor
    predictor.close()


def inputs(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_a_batch_equals_its_items_done_singly_bit_for_bit(predictor):
    batch = inputs(7)
    assert predictor.predict(batch) == [predictor.predict(item[None])[0] for item in batch]


def test_permuting_a_batch_permutes_the_result(predictor):
    batch, order = inputs(5), [3, 0, 4, 2, 1]
    scores = predictor.predict(batch)
    assert predictor.predict(batch[order]) == [scores[i] for i in order]


def test_the_probability_is_the_calibrated_one(predictor):
    (score,) = predictor.predict(inputs(1))
    expected = 1 / (1 + math.exp(-(score.logit / 1.25 - 0.5)))
    assert score.probability == pytest.approx(expected, abs=1e-15)


def test_the_distance_is_the_guards_and_comes_with_the_very_same_logit(predictor, loaded):
    (score,) = predictor.predict(inputs(1))
    with torch.inference_mode():
        features, _ = loaded.model.features_and_logits(inputs(1))
        assert score.distance == loaded.guard.distance(features).item()
        assert score.logit == loaded.model(inputs(1)).item()


def test_without_a_guard_there_is_no_distance(loaded):
    predictor = Predictor(replace(loaded, guard=None), device="cpu", cpu_threads=1)
    with_guard = Predictor(loaded, device="cpu", cpu_threads=1)
    (score,), (same,) = predictor.predict(inputs(1)), with_guard.predict(inputs(1))
    assert score.distance is None
    assert score == replace(same, distance=None)
    predictor.close()
    with_guard.close()


def test_the_device_is_recorded(predictor):
    assert predictor.device_name == "cpu"


class SmallMemory(torch.nn.Module):
    """Runs out of memory above `fits` items, as a device does; remembers the sizes it saw."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits = fits
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.fits:
            raise torch.OutOfMemoryError
        self.sizes.append(len(x))
        return x.mean(dim=(1, 2, 3))


@pytest.fixture
def batched(loaded):
    """A predictor that runs batches as a CUDA one does, on a module of the test's choice."""
    predictor = Predictor(replace(loaded, guard=None), device="cpu", max_batch=8, cpu_threads=1)
    predictor.close()
    predictor._cores = None
    return predictor


def test_memory_that_does_not_suffice_halves_the_batch(batched):
    batched._model = SmallMemory(fits=3)
    batch = inputs(8)
    scores = batched.predict(batch)
    assert batched._model.sizes == [2, 2, 2, 2]
    assert [s.logit for s in scores] == pytest.approx(batch.mean(dim=(1, 2, 3)).tolist())


def test_a_batch_larger_than_allowed_is_split(batched):
    batched._model = SmallMemory(fits=99)
    batched.predict(inputs(20))
    assert batched._model.sizes == [8, 8, 4]


def test_an_item_that_never_fits_is_an_error(batched):
    batched._model = SmallMemory(fits=0)
    with pytest.raises(torch.OutOfMemoryError):
        batched.predict(inputs(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_a_bug_and_never_a_negative(batched, bad):
    batched._model = lambda x: torch.full((len(x),), bad)
    with pytest.raises(Bug, match="no finite number") as error:
        batched.predict(inputs(2))
    assert error.value.code == "NON_FINITE_OUTPUT"


def test_a_distance_that_is_no_number_is_a_bug_too(loaded):
    spoilt = replace(loaded.guard, mean=torch.full_like(loaded.guard.mean, math.nan))
    predictor = Predictor(replace(loaded, guard=spoilt), device="cpu", cpu_threads=1)
    with pytest.raises(Bug, match="a distance that is no finite number"):
        predictor.predict(inputs(1))
    predictor.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_asked_for_and_absent_is_refused():
    with pytest.raises(Rejected, match="asks for cuda, but 0 CUDA devices are visible"):
        choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_and_cpu_agree(loaded):
    batch = inputs(5)
    on_cuda = Predictor(loaded, device="cuda")
    name, scores = on_cuda.device_name, on_cuda.predict(batch)
    on_cpu = Predictor(loaded, device="cpu").predict(batch)
    assert name.startswith("cuda:0 ")
    assert [s.logit for s in scores] == pytest.approx([s.logit for s in on_cpu], abs=1e-2)


@given(st.floats(-1e6, 1e6))
def test_sigmoid_never_overflows(x):
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)


def test_bias_is_added_after_the_temperature():
    assert calibrated_probability(2.0, temperature=2.0, bias=-1.0) == 0.5
    assert calibrated_probability(0.0, temperature=2.0, bias=math.log(3)) == pytest.approx(0.75)
